#include "program.h"

#include <stdexcept>

namespace edgepack::runner {

Program::Program(const Runtime& runtime, const Request& request, const Unit& unit, uint32_t threads)
    : runtime_(runtime), request_(request), linked_(unit.linked), sessions_(request.parts.size()) {
  for (const Part& part : request.parts) states_.emplace_back(part.inputs.size());
  for (const Call& call : unit.calls) {
    if (sessions_[call.part] == nullptr) {
      sessions_[call.part] = std::make_unique<Session>(runtime, request.parts[call.part], threads);
    }
    Step step{call.part, {}};
    for (const Given& given : call.given) step.given.push_back({given.input, runtime.value(given)});
    steps_.push_back(std::move(step));
  }
}

void Program::reset() {
  for (Outputs& part : states_) {
    for (auto& state : part) state.reset();
  }
}

Program::Outputs Program::step(size_t index) {
  const Step& step = steps_[index];
  const Part& part = request_.parts[step.part];
  std::vector<const OrtValue*> inputs(part.inputs.size());
  if (linked_) {
    for (size_t place = 0; place < inputs.size(); ++place) {
      const auto& state = states_[step.part][place];
      if (state != nullptr) inputs[place] = state->get();
    }
  }
  // The first value of a state comes with the request, too.
  for (const Input& given : step.given) inputs[given.place] = given.value.get();
  for (size_t place = 0; place < inputs.size(); ++place) {
    if (inputs[place] == nullptr) {
      throw std::runtime_error("the input '" + part.inputs[place] + "' of part '" + part.name + "' is missing");
    }
  }
  std::vector<OrtValue*> made(part.outputs.size());
  sessions_[step.part]->run(inputs, made);
  Outputs outputs;
  outputs.reserve(made.size());
  for (OrtValue* value : made) outputs.push_back(std::make_shared<Value>(runtime_.api(), value));
  if (linked_) {
    for (const Link& link : request_.links) {
      if (link.from_part == step.part) states_[link.to_part][link.input] = outputs[link.output];
    }
  }
  return outputs;
}

}  // namespace edgepack::runner
