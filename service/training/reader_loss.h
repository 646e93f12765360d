// What the reader learns from one question.
//
// Shapes: N candidates of the question.
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::service {

// scores: [N, 2], SentenceReader::Forward's rows of one question. answered: row 0 is the sentence that answers; else
// none does. Where one does, cross-entropy over the first column; beside it, times refusal_weight, binary cross-entropy
// on the second: of the answering row and of the mean of the others, or, where none answers, of the worst and of the
// mean of all. A scalar.
at::Tensor ReaderLoss(const at::Tensor& scores, bool answered, double refusal_weight);

}  // namespace blazon::service
