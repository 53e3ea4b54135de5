"""What a quantizer or a target can be told: one typed class each, from which checks, errors and the docs' table come.

A target's offer sets a quantizer's options in code; a user sets them with `--quantize name=value`, for one named
precision, and a target's own with `--target-option name=value`. An option that a precision stands for (`bits` of
int4-weights) is `fixed`: a user who changed it would get a file that is not what the report calls it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from edgepack.toolchain.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

Value = str | int | float | bool
_WORDS: Mapping[Any, str] = {
    bool: "true, false",
    int: "a whole number",
    float: "a number",
    str: "a name",
    tuple: "names, comma-separated",
    dict: "a mapping",
}


def split(value: object) -> object:
    """A command line's "a,b" as names; anything else as it is."""
    return (
        tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value
    )


Names = Annotated[tuple[str, ...], BeforeValidator(split)]
"""Names of nodes or operators; text is split at commas."""

Share = Annotated[float, Field(ge=0, le=1, strict=True)]
"""A number from 0 to 1."""


def fixed(default: Any, description: str) -> Any:
    """A field that a precision stands for: set by targets, not by `--quantize`."""
    return Field(default, description=description, json_schema_extra={"fixed": True})


class Options(BaseModel):
    """Base of all options; by itself, that of a quantizer or target without any."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def of(cls, values: Mapping[str, Any], owner: str, where: str | None = None) -> Self:
        """Checked options.

        Args:
            values: By name; what is missing has its default.
            owner: Name of the quantizer or target, for messages.
            where: The part, for messages.

        Raises:
            UnknownNameError: There is no such option, or no such choice.
            UsageError: A value of a wrong type or out of range.
        """
        for name in values:
            if name not in cls.model_fields:
                raise UnknownNameError(f"option of {owner}", name, cls.model_fields, where=where)
        try:
            return cls(**values)
        except ValidationError as error:
            raise cls._worded(error, owner, where) from error

    @classmethod
    def check_asked(
        cls, values: Mapping[str, Value], quantizer: str, precision: str, where: str | None = None
    ) -> None:
        """Raise UsageError for options that a user may not set with this precision; the rest is `of`'s."""
        for name in values:
            field = cls.model_fields.get(name)
            if field is not None and is_fixed(field):
                raise UsageError(
                    f"The option '{name}' of {quantizer} is what the precision {precision} stands for",
                    where=where,
                    todo="Ask for another --precision instead",
                )

    @classmethod
    def _worded(cls, error: ValidationError, owner: str, where: str | None) -> UsageError:
        first = error.errors()[0]
        if not first["loc"]:
            return UsageError(str(first["ctx"]["error"]), where=where)
        name = str(first["loc"][0])
        field = cls.model_fields[name]
        choice = error.error_count() == 1 and first["type"] == "literal_error"
        if choice and isinstance(first["input"], str):
            known = _literals(field.annotation)
            return UnknownNameError(f"'{name}' of {owner}", first["input"], known, where=where)
        return UsageError(
            f"The option '{name}' of {owner} cannot be {first['input']!r}",
            where=where,
            todo=f"It takes {takes(field)}: {field.description}",
        )


def is_fixed(field: FieldInfo) -> bool:
    """Whether a precision stands for the option."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("fixed"))


def takes(field: FieldInfo) -> str:
    """What an option's value can be, in words: its choices, or "a number"."""
    return _kinds(field.annotation)


def _kinds(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return " or ".join(_kinds(kind) for kind in get_args(annotation) if kind is not type(None))
    if origin is Literal:
        return ", ".join(map(str, get_args(annotation)))
    return _WORDS[origin or annotation]


def _literals(annotation: Any) -> list[str]:
    """All choices anywhere in a type."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [name for kind in get_args(annotation) for name in _literals(kind)]
