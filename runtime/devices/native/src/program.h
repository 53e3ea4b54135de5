// A unit's calls on loaded parts: states stay in the runtime's own memory from one call to the next.
#pragma once

#include <memory>
#include <vector>

#include "request.h"
#include "runtime.h"

namespace edgepack::runner {

class Program {
 public:
  using Outputs = std::vector<std::shared_ptr<Value>>;

  // Loads the parts that the unit calls. The arguments must outlive this.
  Program(const Runtime& runtime, const Request& request, const Unit& unit, uint32_t threads);

  size_t steps() const { return steps_.size(); }

  // Forget every state.
  void reset();

  // One call of the unit; its linked outputs are the states of the calls behind it. Returns all of its outputs.
  Outputs step(size_t index);

 private:
  struct Input {
    size_t place;  // in the part's inputs
    Value value;
  };
  struct Step {
    uint32_t part;
    std::vector<Input> given;
  };

  const Runtime& runtime_;
  const Request& request_;
  bool linked_;
  std::vector<std::unique_ptr<Session>> sessions_;  // [parts], null for those that are not called
  std::vector<Outputs> states_;                     // [parts][inputs], null before they are first written
  std::vector<Step> steps_;
};

}  // namespace edgepack::runner
