#include "service/training/reader_loss.h"

#include <ATen/Functions.h>

namespace blazon::service {

at::Tensor ReaderLoss(const at::Tensor& scores, bool answered, double refusal_weight) {
  const at::Tensor no = at::softplus(scores.select(1, 1));  // [N], -log P(does not answer)
  if (!answered) return no.max().add(no.mean()).mul(refusal_weight);
  at::Tensor refusal = at::softplus(scores[0][1].neg());
  if (scores.size(0) > 1) refusal = refusal.add(no.slice(0, 1).mean());
  return at::log_softmax(scores.select(1, 0), 0)[0].neg().add(refusal.mul(refusal_weight));
}

}  // namespace blazon::service
