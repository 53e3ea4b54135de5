#include "cases.h"

#include <fstream>
#include <stdexcept>

namespace driver {
namespace {

template <typename T>
T number(std::istream& in) {
  T value{};
  in.read(reinterpret_cast<char*>(&value), sizeof value);
  if (!in) throw std::runtime_error("the file of cases ends too early");
  return value;
}

std::string text(std::istream& in) {
  std::string value(number<uint32_t>(in), '\0');
  in.read(value.data(), static_cast<std::streamsize>(value.size()));
  return value;
}

std::vector<int64_t> numbers(std::istream& in) {
  std::vector<int64_t> values(number<uint32_t>(in));
  for (int64_t& value : values) value = number<int64_t>(in);
  return values;
}

Case read_case(std::istream& in) {
  Case made;
  made.op = text(in);
  made.node.name = text(in);
  for (uint32_t left = number<uint32_t>(in); left > 0; --left) {
    const std::string name = text(in);
    const bool is_list = number<uint8_t>(in) != 0;
    const std::vector<int64_t> values = numbers(in);
    if (is_list) {
      made.node.lists[name] = values;
    } else {
      made.node.integers[name] = values.at(0);
    }
  }
  for (uint32_t left = number<uint32_t>(in); left > 0; --left) {
    const auto type = static_cast<ONNXTensorElementDataType>(number<int32_t>(in));
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED) {
      made.node.inputs.emplace_back();
      made.node.constant.push_back(false);
      continue;
    }
    made.node.constant.push_back(number<uint8_t>(in) != 0);
    OrtValue value{type, numbers(in), {}};
    size_t bytes = size_of(type);
    for (const int64_t size : value.shape) bytes *= static_cast<size_t>(size);
    value.bytes.resize(bytes);
    in.read(reinterpret_cast<char*>(value.bytes.data()), static_cast<std::streamsize>(bytes));
    made.node.inputs.emplace_back(std::move(value));
  }
  if (!in) throw std::runtime_error("the file of cases ends too early");
  return made;
}

template <typename T>
void put(std::ostream& out, T value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::vector<Case> read_cases(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<Case> cases(number<uint32_t>(in));
  for (Case& one : cases) one = read_case(in);
  return cases;
}

void write_results(const char* path, const std::vector<Result>& results) {
  std::ofstream out(path, std::ios::binary);
  put(out, static_cast<uint32_t>(results.size()));
  for (const Result& result : results) {
    put(out, static_cast<uint8_t>(result.computed));
    if (!result.computed) {
      put(out, static_cast<uint32_t>(result.refusal.size()));
      out.write(result.refusal.data(), static_cast<std::streamsize>(result.refusal.size()));
      continue;
    }
    put(out, static_cast<uint32_t>(result.outputs.size()));
    for (const OrtValue& value : result.outputs) {
      put(out, static_cast<int32_t>(value.type));
      put(out, static_cast<uint32_t>(value.shape.size()));
      for (const int64_t size : value.shape) put(out, size);
      out.write(reinterpret_cast<const char*>(value.bytes.data()),
                static_cast<std::streamsize>(value.bytes.size()));
    }
  }
  if (!out.flush()) throw std::runtime_error("the results cannot be written");
}

}  // namespace driver
