// One visitor for std::visit out of several functions, one for each kind of step.
#pragma once

namespace blazon::language {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

}  // namespace blazon::language
