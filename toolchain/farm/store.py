"""The database of a farm: runs and their results, by SQLAlchemy, whose URL names SQLite or another.

Every result is written as soon as it is there, in a transaction of its own: a farm that is killed keeps what it
had. A run's result of one key is there at most once, which the database itself sees to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import ToolchainMissingError, UsageError
from edgepack.toolchain.farm.results import BAD, FarmResult

if TYPE_CHECKING:
    from typing_extensions import Self

_WAIT_S = 60  # for another process's transaction
_KEY = ("device", "bundle", "target", "unit", "plan", "precision", "settings")
_LONGEST = 250  # characters of a column of the key: databases other than SQLite want a bound


class Store:
    """An open database.

    Args:
        url: SQLAlchemy's.

    Raises:
        ToolchainMissingError: SQLAlchemy, or the database's driver, is not installed.
        UsageError: The database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            import sqlalchemy as sql
        except ImportError as error:
            raise ToolchainMissingError(
                "SQLAlchemy is not installed", todo="Run: pip install 'edgepack[farm]'"
            ) from error
        self._sql = sql
        meta = sql.MetaData()
        self._runs = sql.Table(
            "runs",
            meta,
            sql.Column("id", sql.Integer, primary_key=True),
            sql.Column("created", sql.String(40), nullable=False),
            sql.Column("edgepack", sql.String(40), nullable=False),
        )
        self._results = sql.Table(
            "results",
            meta,
            sql.Column("id", sql.Integer, primary_key=True),
            sql.Column("run", sql.ForeignKey("runs.id"), nullable=False),
            *(sql.Column(name, sql.String(_LONGEST), nullable=False) for name in _KEY),
            sql.Column("good", sql.Boolean, nullable=False),
            sql.Column("created", sql.String(40), nullable=False),
            sql.Column("p50_ms", sql.Float),
            sql.Column("peak_bytes", sql.BigInteger),
            sql.Column("verdict", sql.String(40), nullable=False),
            sql.Column("whole", sql.Text, nullable=False),
            sql.UniqueConstraint("run", *_KEY),
        )
        try:
            given = {"connect_args": {"timeout": _WAIT_S}} if url.startswith("sqlite") else {}
            self._engine = sql.create_engine(url, **given)
            meta.create_all(self._engine)
        except ImportError as error:
            raise ToolchainMissingError(
                f"The database's driver is not installed: {error}", todo="Install it with pip"
            ) from error
        except sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def begin(self, created: str, edgepack: str) -> int:
        """A new run; returns its number.

        Raises:
            UsageError: The database does not take it.
        """
        row = {"created": created, "edgepack": edgepack}
        return int(self._do(self._runs.insert().values(row)).inserted_primary_key[0])

    def add(self, run: int, result: FarmResult) -> None:
        """Write a result.

        Raises:
            UsageError: The database does not take it, or the run has it already.
        """
        row = {name: getattr(result, name)[:_LONGEST] for name in (*_KEY, "created", "verdict")}
        row |= {"run": run, "good": _good(result), "p50_ms": result.p50_ms, "peak_bytes": result.peak_bytes}
        self._do(self._results.insert().values({**row, "whole": json.dumps(result.model_dump())}))

    def last_good(self, key: Sequence[str], before_run: int) -> FarmResult | None:
        """The last good result of a key, of a run before this one.

        Raises:
            UsageError: The database cannot be read.
        """
        table = self._results.c
        found = self._rows(
            self._sql.select(table.whole)
            .where(table.run < before_run, table.good.is_(True))
            .where(*(table[name] == value[:_LONGEST] for name, value in zip(_KEY, key, strict=True)))
            .order_by(table.run.desc())
            .limit(1)
        )
        return FarmResult.model_validate_json(found[0][0]) if found else None

    def had(self, lost: FarmResult, before_run: int) -> list[FarmResult]:
        """The good results of the last run before this one that had any of a failure's device, bundle and target.

        Raises:
            UsageError: The database cannot be read.
        """
        table = self._results.c
        names = ("device", "bundle", "settings", *(("target",) if lost.target else ()))
        alike = [table[name] == getattr(lost, name)[:_LONGEST] for name in names]
        alike += [table.run < before_run, table.good.is_(True)]
        newest = self._sql.select(self._sql.func.max(table.run)).where(*alike).scalar_subquery()
        found = self._rows(
            self._sql.select(table.whole).where(*alike, table.run == newest).order_by(table.id)
        )
        return [FarmResult.model_validate_json(row[0]) for row in found]

    def accept(self, run: int) -> int:
        """Take a run's worse figures as good; returns how many they were.

        Raises:
            UsageError: The database does not take it.
        """
        table = self._results
        slower = (table.c.run == run) & (table.c.verdict == "worse") & table.c.good.is_(False)
        return int(self._do(table.update().where(slower).values(good=True)).rowcount)

    def last_run(self) -> int | None:
        """Number of the newest run.

        Raises:
            UsageError: The database cannot be read.
        """
        found = self._rows(self._sql.select(self._sql.func.max(self._runs.c.id)))
        return found[0][0] if found else None

    def _do(self, statement: Any) -> Any:
        try:
            with self._engine.begin() as talk:
                return talk.execute(statement)
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def _rows(self, statement: Any) -> list[Any]:
        try:
            with self._engine.connect() as talk:
                return list(talk.execute(statement))
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> UsageError:
        # The text after the first line may hold the whole statement, and the URL a password.
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return UsageError(
            f"The database cannot be used: {words}",
            todo="Check its URL ('database' in the file of devices) and that its disk is not full",
        )


def _good(result: FarmResult) -> bool:
    return result.error is None and result.verdict not in BAD
