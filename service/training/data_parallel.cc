#include "service/training/data_parallel.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

// 32 MB: long enough that what a call costs does not count, short enough not to double the gradients' memory.
constexpr int64_t kBucketValues = int64_t{8} << 20;

std::span<std::byte> BytesOf(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

}  // namespace

absl::StatusOr<bool> DataParallel::Any(bool here) {
  if (group_ == nullptr) return here;
  double count = here ? 1 : 0;
  if (absl::Status status = group_->Sum(std::span(&count, 1)); !status.ok()) return status;
  return count > 0;
}

absl::Status DataParallel::SumGradients(absl::Span<const at::Tensor> tensors, std::vector<double>& numbers) {
  if (group_ == nullptr) return absl::OkStatus();
  const at::NoGradGuard no_grad;
  const size_t own = numbers.size();
  for (const at::Tensor& tensor : tensors) numbers.push_back(tensor.grad().defined() ? 1 : 0);
  if (absl::Status status = group_->Sum(numbers); !status.ok()) return status;
  std::vector<at::Tensor> gradients;  // flat
  int64_t values = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (numbers[own + i] == 0) continue;
    at::Tensor& gradient = tensors[i].mutable_grad();
    gradient = gradient.defined() ? gradient.contiguous() : at::zeros_like(tensors[i]);
    gradients.push_back(gradient.view({-1}));
    values += gradient.numel();
  }
  numbers.resize(own);
  const at::Tensor bucket = at::empty({std::min(values, kBucketValues)}, at::kFloat);
  // Each bucket is filled to its end, with a part of a tensor where a whole one has no room.
  size_t tensor = 0;
  int64_t offset = 0;
  while (tensor < gradients.size()) {
    std::vector<std::pair<at::Tensor, at::Tensor>> parts;  // of the bucket, of a gradient
    int64_t filled = 0;
    while (tensor < gradients.size() && filled < bucket.size(0)) {
      const int64_t length = std::min(gradients[tensor].size(0) - offset, bucket.size(0) - filled);
      parts.emplace_back(bucket.narrow(0, filled, length), gradients[tensor].narrow(0, offset, length));
      parts.back().first.copy_(parts.back().second);
      filled += length;
      offset += length;
      if (offset == gradients[tensor].size(0)) {
        ++tensor;
        offset = 0;
      }
    }
    absl::Status status = group_->Sum(std::span(bucket.data_ptr<float>(), static_cast<size_t>(filled)));
    if (!status.ok()) return status;
    for (auto& [from, to] : parts) to.copy_(from);
  }
  return absl::OkStatus();
}

absl::Status DataParallel::Broadcast(const at::Tensor& tensor, int from) {
  return group_->Broadcast(BytesOf(tensor), from);
}

absl::Status DataParallel::Share(double& number) {
  if (group_ == nullptr) return absl::OkStatus();
  return group_->Broadcast(std::as_writable_bytes(std::span(&number, 1)));
}

absl::Status DataParallel::Share(std::string& text) {
  if (group_ == nullptr) return absl::OkStatus();
  auto size = static_cast<double>(text.size());
  if (absl::Status status = Share(size); !status.ok()) return status;
  text.resize(static_cast<size_t>(size));
  return group_->Broadcast(std::as_writable_bytes(std::span(text)));
}

absl::Status DataParallel::Share(std::map<std::string, at::Tensor>& tensors) {
  if (group_ == nullptr) return absl::OkStatus();
  nlohmann::json shapes = nlohmann::json::array();
  for (const auto& [name, tensor] : tensors)
    shapes.push_back({name, static_cast<int>(tensor.scalar_type()), tensor.sizes().vec()});
  std::string text = shapes.dump();
  if (absl::Status status = Share(text); !status.ok()) return status;
  if (!first()) {
    tensors.clear();
    for (const nlohmann::json& shape : nlohmann::json::parse(text)) {
      tensors[shape[0]] =
          at::empty(shape[2].get<std::vector<int64_t>>(), static_cast<at::ScalarType>(shape[1].get<int>()));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (absl::Status status = Broadcast(tensor.contiguous(), 0); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<at::Tensor>> DataParallel::Gather(const at::Tensor& own) {
  if (group_ == nullptr) return std::vector<at::Tensor>{own};
  std::vector<at::Tensor> all;
  for (int from = 0; from < size(); ++from) {
    all.push_back(from == rank() ? own.contiguous() : at::empty(own.sizes(), own.options()));
    if (absl::Status status = Broadcast(all.back(), from); !status.ok()) return status;
  }
  return all;
}

absl::Status DataParallel::CheckEqual(absl::Span<const at::Tensor> tensors) {
  if (group_ == nullptr) return absl::OkStatus();
  uint64_t digest = 0;
  for (const at::Tensor& tensor : tensors) {
    const at::Tensor whole = tensor.contiguous();
    const std::span<std::byte> bytes = BytesOf(whole);
    digest = digest * 1000003 +
             std::hash<std::string_view>()(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  uint64_t wanted = digest;
  if (absl::Status status = group_->Broadcast(std::as_writable_bytes(std::span(&wanted, 1))); !status.ok())
    return status;
  const absl::StatusOr<bool> differs = Any(digest != wanted);
  if (!differs.ok()) return differs.status();
  if (!*differs) return absl::OkStatus();
  return absl::InternalError(
      "the processes' weights are not equal: their machines do not compute alike, or read different files. Use "
      "machines "
      "of one kind with the same program, files and --threads");
}

absl::Status DataParallel::CheckEqual(const std::string& name, const std::string& settings) {
  if (group_ == nullptr) return absl::OkStatus();
  std::string wanted = settings;
  if (absl::Status status = Share(wanted); !status.ok()) return status;
  const absl::StatusOr<bool> differs = Any(settings != wanted);
  if (!differs.ok()) return differs.status();
  if (!*differs) return absl::OkStatus();
  if (settings == wanted) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process of this training has another ", name, " than ", wanted));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("process ", rank(), " has ", name, " ", settings, ", and the first process ", wanted));
}

absl::StatusOr<std::pair<int64_t, int64_t>> ShareOf(const std::string& option, int64_t count, int rank, int size) {
  if (count % size != 0) {
    return absl::InvalidArgumentError(absl::StrCat(option, " is ", count, ", which ", size,
                                                   " processes cannot share evenly; make it a multiple of ", size));
  }
  const int64_t share = count / size;
  return std::pair(rank * share, (rank + 1) * share);
}

uint64_t SeedOfProcess(uint64_t seed, int rank) { return seed ^ (static_cast<uint64_t>(rank) * 0x9E3779B97F4A7C15); }

}  // namespace blazon::service
