// Writing JSON: as much of it as answers need.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace edgepack::runner::json {

// A string. Bytes beyond ASCII are written as the code points of Latin-1, so that the text is valid whatever they are.
inline std::string text(const std::string& value) {
  std::string found = "\"";
  for (const char letter : value) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte == '"' || byte == '\\') {
      found += '\\';
      found += letter;
    } else if (byte < 0x20 || byte >= 0x7f) {
      char escaped[7];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      found += escaped;
    } else {
      found += letter;
    }
  }
  return found + "\"";
}

inline std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char shown[32];
  std::snprintf(shown, sizeof shown, "%.17g", value);
  return shown;
}

class Object {
 public:
  Object& add(const std::string& name, const std::string& value) {
    content_ += (content_.empty() ? "" : ", ") + text(name) + ": " + value;
    return *this;
  }
  std::string done() const { return "{" + content_ + "}"; }

 private:
  std::string content_;
};

inline std::string list(const std::vector<std::string>& values) {
  std::string content;
  for (const std::string& value : values) content += (content.empty() ? "" : ", ") + value;
  return "[" + content + "]";
}

}  // namespace edgepack::runner::json
