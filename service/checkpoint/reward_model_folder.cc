#include "service/checkpoint/reward_model_folder.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {
namespace {

constexpr const char* kHeadFile = "reward_head.safetensors";
constexpr const char* kHeadName = "score.weight";
constexpr const char* kBaseDigest = "base_digest";

}  // namespace

absl::StatusOr<RewardModel> ReadRewardModel(const std::filesystem::path& folder, const LoadedLanguageModel& base) {
  const std::filesystem::path file = folder / kHeadFile;
  std::map<std::string, std::string> metadata;
  const absl::StatusOr<TensorMap> tensors = ReadSafetensors(file, &metadata);
  if (absl::IsNotFound(tensors.status())) {
    return absl::NotFoundError(absl::StrCat(folder.string(), " is no reward model, it has no ", kHeadFile,
                                            "; 'blazon train reward' makes one"));
  }
  if (!tensors.ok()) return tensors.status();
  const absl::StatusOr<std::string> digest = base.digest.Get();
  if (!digest.ok()) return digest.status();
  if (metadata[kBaseDigest] != *digest) {
    return absl::InvalidArgumentError(absl::StrCat(folder.string(), " is a reward model of ", metadata["base_model"],
                                                   " (", metadata[kBaseDigest], "), and the language model is ",
                                                   base.name, " (", *digest,
                                                   "); name the one that it was trained on with --model"));
  }
  const auto found = tensors->find(kHeadName);
  const int64_t width = base.model->config().width;
  if (tensors->size() != 1 || found == tensors->end() || found->second.sizes() != at::IntArrayRef({1, width}) ||
      found->second.scalar_type() != at::kFloat || !found->second.isfinite().all().item<bool>()) {
    return absl::DataLossError(absl::StrCat(file.string(), ": it should hold ", kHeadName, ", 1 x ", width,
                                            " finite numbers in fp32, and nothing else"));
  }
  auto adapter = ReadAdapter(folder, *base.model);
  if (!adapter.ok()) return adapter.status();
  return RewardModel{.adapter = *std::move(adapter), .head = found->second.clone()};
}

absl::Status WriteRewardHead(const std::filesystem::path& folder, const at::Tensor& head,
                             const LoadedLanguageModel& base, const std::string& base_name,
                             std::map<std::string, std::string> notes) {
  const absl::StatusOr<std::string> digest = base.digest.Get();
  if (!digest.ok()) return digest.status();
  notes["format"] = "pt";
  notes["base_model"] = base_name;
  notes[kBaseDigest] = *digest;
  return WriteSafetensors(folder / kHeadFile, {{kHeadName, head.detach()}}, notes);
}

std::vector<double> Rewards(const language::LanguageModel& base, const RewardModel& reward,
                            absl::Span<const language::TrainingExample* const> row) {
  const at::NoGradGuard no_grad;
  const at::Tensor states = language::LastStates(base, reward.adapter.get(), row).to(at::kFloat);  // [texts, D]
  const at::Tensor rewards = at::linear(states, reward.head).flatten().to(at::kDouble).contiguous();
  return {rewards.const_data_ptr<double>(), rewards.const_data_ptr<double>() + rewards.numel()};
}

}  // namespace blazon::service
