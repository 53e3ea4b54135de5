#include "request.h"

#include <cstring>
#include <fstream>
#include <stdexcept>

namespace edgepack::runner {
namespace {

constexpr uint32_t kVersion = 1;
constexpr char kMagic[] = "EDGEPACK";

class Reader {
 public:
  explicit Reader(const std::string& path) : stream_(path, std::ios::binary) {
    if (!stream_) throw std::runtime_error("the request " + path + " cannot be opened");
    stream_.seekg(0, std::ios::end);
    left_ = static_cast<uint64_t>(stream_.tellg());
    stream_.seekg(0);
  }

  void take(void* to, uint64_t size) {
    if (size > left_ || !stream_.read(static_cast<char*>(to), static_cast<std::streamsize>(size))) {
      throw std::runtime_error("the request ends too early");
    }
    left_ -= size;
  }

  template <typename Number>
  Number number() {
    Number value;
    take(&value, sizeof value);
    return value;
  }

  // A length that can be true: each element takes at least one byte.
  template <typename Length>
  size_t length() {
    const auto value = number<Length>();
    if (value > left_) throw std::runtime_error("the request names more than it holds");
    return static_cast<size_t>(value);
  }

  std::string text() {
    std::string value(length<uint32_t>(), '\0');
    take(value.data(), value.size());
    return value;
  }

  std::vector<unsigned char> bytes() {
    std::vector<unsigned char> value(length<uint64_t>());
    take(value.data(), value.size());
    return value;
  }

  template <typename Read>
  auto list(const Read& read) {
    std::vector<decltype(read())> values(length<uint32_t>());
    for (auto& value : values) value = read();
    return values;
  }

  std::vector<std::string> texts() {
    return list([&] { return text(); });
  }

  template <typename Number>
  std::vector<Number> numbers() {
    return list([&] { return number<Number>(); });
  }

  bool at_end() const { return left_ == 0; }

 private:
  std::ifstream stream_;
  uint64_t left_ = 0;
};

// Places in lists are checked once, here.
void check(const Request& request) {
  const auto in = [](size_t place, size_t size) {
    if (place >= size) throw std::runtime_error("the request names a place that is not there");
  };
  for (const Link& link : request.links) {
    in(link.from_part, request.parts.size());
    in(link.to_part, request.parts.size());
    in(link.output, request.parts[link.from_part].outputs.size());
    in(link.input, request.parts[link.to_part].inputs.size());
  }
  for (const Unit& unit : request.units) {
    for (const Call& call : unit.calls) {
      in(call.part, request.parts.size());
      for (const Given& given : call.given) in(given.input, request.parts[call.part].inputs.size());
    }
  }
}

}  // namespace

Request read_request(const std::string& path) {
  Reader reader(path);
  char magic[sizeof kMagic - 1];
  reader.take(magic, sizeof magic);
  if (std::memcmp(magic, kMagic, sizeof magic) != 0 || reader.number<uint32_t>() != kVersion) {
    throw std::runtime_error("the file " + path + " is no request of this runner's version");
  }
  const auto u32 = [&] { return reader.number<uint32_t>(); };
  Request request;
  request.library = reader.text();
  request.kernels = reader.text();
  request.threads = u32();
  request.root = reader.text();
  request.globs = reader.texts();
  request.parts = reader.list([&] {
    Part part;
    part.name = reader.text();
    part.file = reader.text();
    part.inputs = reader.texts();
    part.outputs = reader.texts();
    return part;
  });
  request.links = reader.list([&] {
    Link link;
    link.from_part = u32();
    link.output = u32();
    link.to_part = u32();
    link.input = u32();
    return link;
  });
  request.units = reader.list([&] {
    Unit unit;
    unit.name = reader.text();
    unit.linked = u32() != 0;
    unit.calls = reader.list([&] {
      Call call;
      call.part = u32();
      call.given = reader.list([&] {
        Given given;
        given.input = u32();
        given.type = u32();
        given.shape = reader.numbers<int64_t>();
        given.bytes = reader.bytes();
        return given;
      });
      return call;
    });
    return unit;
  });
  request.plans = reader.list([&] {
    Plan plan;
    plan.name = reader.text();
    plan.cpus = reader.numbers<uint32_t>();
    plan.threads = u32();
    return plan;
  });
  request.settings.fewest = u32();
  request.settings.least_s = reader.number<double>();
  request.settings.most_s = reader.number<double>();
  request.settings.every_s = reader.number<double>();
  request.settings.rest_s = reader.number<double>();
  if (!reader.at_end()) throw std::runtime_error("the request goes on behind its end");
  check(request);
  return request;
}

}  // namespace edgepack::runner
