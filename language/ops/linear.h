// y = W x + b, with W dense or quantised, plus the low-rank updates of the adapters in the batch.
//
// Shapes: N rows, I inputs, O outputs.
// Thread safety: const after construction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/state_dict.h"

namespace blazon::language {

// Consecutive rows of a ragged batch that use one adapter. Null: none.
struct AdapterRows {
  const Adapter* adapter = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
};

class Linear {
 public:
  Linear() = default;
  // name: the module's ("model.layers.0.self_attn.q_proj"), by which adapters find it. weight: [O, I]; bias: [O], or
  // undefined.
  Linear(std::string name, Weight weight, at::Tensor bias = {});

  // The same weight under another name (an output matrix tied to the embedding). Shares memory.
  Linear Named(std::string name) const { return Linear(std::move(name), weight_, bias_); }

  const std::string& name() const { return name_; }
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }

  // x: [N, I]; returns [N, O] in x's type. adapters: the runs of rows that have one; empty when none has.
  // Differentiable in x and in the adapters when gradients are on.
  at::Tensor Forward(const at::Tensor& x, absl::Span<const AdapterRows> adapters = {}) const;

  // Rows of W as an embedding table: ids int64 [n], on any device; returns [n, I], in the dense weight's type or fp32.
  at::Tensor Rows(const at::Tensor& ids) const;

 private:
  at::Tensor Product(const at::Tensor& x) const;

  std::string name_;
  Weight weight_;
  at::Tensor bias_;
  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
};

}  // namespace blazon::language
