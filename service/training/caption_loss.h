// What the captioner learns by: the language model's loss on the caption's tokens, given a picture's.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"
#include "language/training/adamw.h"
#include "vision/projector.h"

namespace blazon::service {

// A picture, and what is said of it.
struct CaptionSample {
  at::Tensor cells;                              // fp32 [T, C], as Projector reads them
  std::vector<language::TokenId> before, after;  // the prompt around the image tokens
  std::vector<language::TokenId> caption;        // without the token that ends it
  // Other texts about the same picture, each with its own `after`. The tokens that all begin with are computed once
  // (ModelInput::branches); the loss is that of separate samples.
  struct Text {
    std::vector<language::TokenId> after, caption;
  };
  std::vector<Text> more = {};
};

// The mean over the captions' tokens and the `end` of each of -log p, natural; differentiable in the connector's and
// the adapter's tensors. samples: at least one, all of one size of cells. Throws c10::Error.
at::Tensor CaptionLoss(const language::LanguageModel& model, const vision::Projector& connector,
                       const language::Adapter& adapter, absl::Span<const CaptionSample> samples,
                       language::TokenId end);

// For both together, each with its own peak learning rate; their tensors require gradients from then on.
language::AdamW CaptionOptimizer(const vision::Projector& connector, double connector_rate,
                                 const language::Adapter& adapter, double adapter_rate, double weight_decay);

}  // namespace blazon::service
