// What the processes of a data-parallel training do together at a step. Each computes the gradients of its share of the
// step's data, divided by what the whole step counts; they are summed, and every process takes the same step (Li et al.
// 2020, arXiv 2006.15704). Gradients go through flat buckets; they are summed after the backward pass, not within it.
//
// Without a group there is one process, and nothing is done.
// Thread safety: none. Errors: as of ProcessGroup.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "service/training/process_group.h"

namespace blazon::service {

class DataParallel {
 public:
  explicit DataParallel(std::shared_ptr<ProcessGroup> group) : group_(std::move(group)) {}

  int rank() const { return group_ == nullptr ? 0 : group_->rank(); }
  int size() const { return group_ == nullptr ? 1 : group_->size(); }
  bool first() const { return rank() == 0; }  // who prints, measures and writes

  // Whether any process says so.
  absl::StatusOr<bool> Any(bool here);
  // Sums `numbers` and the gradients of `tensors` over all processes. A tensor without a gradient here counts as zero;
  // one that has none anywhere stays without.
  absl::Status SumGradients(absl::Span<const at::Tensor> tensors, std::vector<double>& numbers);

  // All receive what the first process has.
  absl::Status Share(double& number);
  absl::Status Share(std::string& text);
  absl::Status Share(std::map<std::string, at::Tensor>& tensors);  // others' are made
  // A tensor of one shape and type from each process, in the order of ranks.
  absl::StatusOr<std::vector<at::Tensor>> Gather(const at::Tensor& own);

  // kInternal: a tensor's bits are not those of the first process, so that the processes do not train one model.
  absl::Status CheckEqual(absl::Span<const at::Tensor> tensors);
  // kFailedPrecondition: `settings` is not the first process's; `name` says what they are.
  absl::Status CheckEqual(const std::string& name, const std::string& settings);

 private:
  absl::Status Broadcast(const at::Tensor& tensor, int from);

  std::shared_ptr<ProcessGroup> group_;
};

// A process's share of `count` things: first and behind last. kInvalidArgument: they cannot be shared evenly; `option`
// is what decides their number.
absl::StatusOr<std::pair<int64_t, int64_t>> ShareOf(const std::string& option, int64_t count, int rank, int size);

// The seed of a process's own random choices, such as dropout; the first one's is `seed`.
uint64_t SeedOfProcess(uint64_t seed, int rank);

}  // namespace blazon::service
