// Weights that both C++ and Python (tests/reference/formula_weights.py) compute, so that no random checkpoint is
// committed.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

#include "language/models/llama.h"
#include "language/state_dict.h"

namespace blazon::language {

// A matrix scaled to keep variance, or a vector around 1; a function of name and shape alone.
at::Tensor FormulaWeight(std::string_view name, const std::vector<int64_t>& shape);

// All tensors of a Llama of this shape.
StateDict FormulaLlama(const LlamaConfig& config);

}  // namespace blazon::language
