#include "language/ops/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/linear.h>
#include <c10/util/Exception.h>

#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "language/ops/quantized_matmul.h"

namespace blazon::language {
namespace {

// scale * B (A x). x: [n, I]; returns [n, O].
at::Tensor Update(const LoraWeights& lora, const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  const at::Tensor seen = lora.dropout > 0 && at::GradMode::is_enabled() ? at::dropout(x, lora.dropout, true) : x;
  return at::linear(at::linear(seen, lora.a.to(type)), lora.b.to(type)) * lora.scale;
}

std::optional<at::Tensor> Optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace

Linear::Linear(std::string name, Weight weight, at::Tensor bias)
    : name_(std::move(name)), weight_(std::move(weight)), bias_(std::move(bias)) {
  if (const auto* quantised = std::get_if<QuantizedTensor>(&weight_)) {
    outputs_ = quantised->rows;
    inputs_ = quantised->columns;
  } else {
    const at::Tensor& dense = std::get<at::Tensor>(weight_);
    outputs_ = dense.size(0);
    inputs_ = dense.size(1);
  }
}

at::Tensor Linear::Product(const at::Tensor& x) const {
  if (const auto* dense = std::get_if<at::Tensor>(&weight_)) return at::linear(x, *dense, Optional(bias_));
  const auto& quantised = std::get<QuantizedTensor>(weight_);
  if (at::GradMode::is_enabled() && x.requires_grad()) return at::linear(x, Dequantize(quantised), Optional(bias_));
  at::Tensor y = QuantizedMatmul(x.contiguous(), quantised);
  return bias_.defined() ? y.add_(bias_) : y;
}

at::Tensor Linear::Forward(const at::Tensor& x, absl::Span<const AdapterRows> adapters) const {
  at::Tensor y = Product(x);  // [N, O]
  std::vector<std::pair<const AdapterRows*, const LoraWeights*>> updates;
  for (const AdapterRows& rows : adapters) {
    const auto found = rows.adapter->modules.find(name_);
    if (found != rows.adapter->modules.end()) updates.emplace_back(&rows, &found->second);
  }
  if (updates.empty()) return y;

  const auto lora_of = [&](size_t i) {
    return Update(*updates[i].second,
                  x.narrow(0, updates[i].first->begin, updates[i].first->end - updates[i].first->begin));
  };
  if (updates.size() == 1 && updates[0].first->begin == 0 && updates[0].first->end == x.size(0)) return y + lora_of(0);
  // Piece by piece, without writing into y: it may be part of an autograd graph.
  std::vector<at::Tensor> pieces;
  int64_t row = 0;
  for (size_t i = 0; i < updates.size(); ++i) {
    const AdapterRows& rows = *updates[i].first;
    if (rows.begin > row) pieces.push_back(y.narrow(0, row, rows.begin - row));
    pieces.push_back(y.narrow(0, rows.begin, rows.end - rows.begin) + lora_of(i));
    row = rows.end;
  }
  if (row < x.size(0)) pieces.push_back(y.narrow(0, row, x.size(0) - row));
  return at::cat(pieces, 0);
}

at::Tensor Linear::Rows(const at::Tensor& ids) const {
  if (const auto* dense = std::get_if<at::Tensor>(&weight_)) return dense->index_select(0, ids.to(dense->device()));
  QuantizedTensor rows = std::get<QuantizedTensor>(weight_);
  rows.blocks = rows.blocks.index_select(0, ids);
  rows.rows = ids.size(0);
  return Dequantize(rows);
}

}  // namespace blazon::language
