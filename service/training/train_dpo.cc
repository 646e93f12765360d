#include "service/training/train_dpo.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/weights_digest.h"
#include "service/training/dpo_task.h"
#include "service/training/language_run.h"
#include "service/training/preference_data.h"

namespace blazon::service {
namespace {

using language::TrainingExample;

absl::Status CheckDpoOptions(const TrainDpoOptions& options) {
  const auto wrong = [](const char* name, double value, const char* bound) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", bound));
  };
  if (options.common.trainer.steps == 0 && (!(options.epochs > 0) || !std::isfinite(options.epochs)))
    return wrong("--epochs", options.epochs, "above 0");
  if (!(options.beta > 0) || !std::isfinite(options.beta)) return wrong("--beta", options.beta, "above 0");
  if (!(options.label_smoothing >= 0) || options.label_smoothing >= 0.5)
    return wrong("--label-smoothing", options.label_smoothing, "0 to below 0.5");
  if (options.common.batch < 1 || options.common.row_tokens < 1)
    return absl::InvalidArgumentError("--batch and --row-tokens must be at least 1");
  if (options.evaluation.empty() &&
      (options.common.trainer.evaluate_every > 0 || options.common.trainer.finish_with_best))
    return absl::InvalidArgumentError("--eval-every and --best need held-out pairs: --eval FILE");
  return absl::OkStatus();
}

// What the log-probabilities were computed of: every token and where each completion begins and ends.
at::Tensor Fingerprint(const std::vector<TrainingExample>& pairs) {
  std::vector<int64_t> values;
  for (const TrainingExample& pair : pairs) {
    values.insert(values.end(), pair.tokens.begin(), pair.tokens.end());
    for (const language::TokenSpan& span : pair.branches) values.insert(values.end(), {span.begin, span.end});
  }
  return at::tensor(values, at::kLong);
}

// Reads them from `file`, or computes and writes them.
absl::StatusOr<DpoTask::Reference> MakeReference(const std::filesystem::path& file, const TrainDpoOptions& options,
                                                 const LoadedLanguageModel& loaded, const TrainedModel& trained,
                                                 const std::vector<TrainingExample>& pairs,
                                                 const std::vector<TrainingExample>& held_out) {
  const absl::StatusOr<std::string> digest = loaded.digest.Get();
  if (!digest.ok()) return digest.status();
  std::map<std::string, std::string> made_of = {{"model", *digest}, {"dtype", options.common.dtype}};
  if (!options.common.start_adapter.empty()) {
    const auto start = FileSha256(options.common.start_adapter / "adapter_model.safetensors");
    if (!start.ok()) return start.status();
    made_of["adapter"] = *start;
  }
  const at::Tensor print = Fingerprint(pairs), held_out_print = Fingerprint(held_out);
  const auto fits = [](const TensorMap& tensors, const char* name, const at::Tensor& wanted) {
    const auto found = tensors.find(name);
    return found != tensors.end() && found->second.scalar_type() == wanted.scalar_type() &&
           found->second.sizes() == wanted.sizes() && found->second.equal(wanted);
  };
  std::map<std::string, std::string> metadata;
  if (const absl::StatusOr<TensorMap> read = ReadSafetensors(file, &metadata); read.ok()) {
    metadata.erase("format");
    if (metadata == made_of && fits(*read, "pairs.tokens", print) && fits(*read, "held_out.tokens", held_out_print) &&
        read->contains("pairs") && read->contains("held_out")) {
      options.common.trainer.log(absl::StrCat("the reference's log-probabilities are those of ", file.string()));
      return DpoTask::Reference{.pairs = read->at("pairs").clone(), .held_out = read->at("held_out").clone()};
    }
  }
  options.common.trainer.log("computing the reference's log-probabilities");
  DpoTask::Reference reference;
  for (const auto& [texts, sums] : {std::pair{&pairs, &reference.pairs}, std::pair{&held_out, &reference.held_out}}) {
    absl::StatusOr<at::Tensor> computed =
        PairLogprobs(trained.model(), trained.start(), *texts, options.common.row_tokens, options.common.trainer.stop);
    if (!computed.ok()) return computed.status();
    *sums = *std::move(computed);
  }
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  const absl::Status written = WriteSafetensors(file,
                                                {{"pairs", reference.pairs},
                                                 {"held_out", reference.held_out},
                                                 {"pairs.tokens", print},
                                                 {"held_out.tokens", held_out_print}},
                                                made_of);
  if (!written.ok()) return written;
  return reference;
}

}  // namespace

absl::Status TrainDpo(const TrainDpoOptions& given) {
  TrainDpoOptions options = given;
  TrainerOptions& trainer = options.common.trainer;
  if (absl::Status status = CheckDpoOptions(options); !status.ok()) return status;
  const absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(options.common);
  if (!loaded.ok()) return loaded.status();
  const PreferenceDataOptions data_options = {.max_tokens = options.common.row_tokens, .skip_long = options.skip_long};
  const absl::StatusOr<PreferenceData> data = ReadPreferenceData(options.data, *loaded, data_options);
  if (!data.ok()) return data.status();
  trainer.log(DescribePairs("train", *data, options.common.row_tokens));
  PreferenceData held_out;
  if (!options.evaluation.empty()) {
    absl::StatusOr<PreferenceData> read = ReadPreferenceData(options.evaluation, *loaded, data_options);
    if (!read.ok()) return read.status();
    held_out = *std::move(read);
    trainer.log(DescribePairs("held out", held_out, options.common.row_tokens));
  }
  if (trainer.steps == 0) {
    const double pairs = options.epochs * static_cast<double>(data->pairs.size());
    trainer.steps = std::max<int64_t>(1, std::llround(pairs / static_cast<double>(options.common.batch)));
  }
  if (absl::Status status = CheckTrainerOptions(trainer); !status.ok()) return status;
  const absl::StatusOr<TrainedModel> trained = MakeTrained(options.common, *loaded);
  if (!trained.ok()) return trained.status();
  DpoTask::Reference reference;
  if (!trainer.dry_run) {
    DataParallel parallel(trainer.group);
    if (parallel.first()) {
      auto made = MakeReference(trainer.folder / "reference.safetensors", options, *loaded, *trained, data->pairs,
                                held_out.pairs);
      if (!made.ok()) return made.status();
      reference = *std::move(made);
    }
    TensorMap shared = {{"pairs", reference.pairs}, {"held_out", reference.held_out}};
    if (absl::Status status = parallel.Share(shared); !status.ok()) return status;
    reference = {.pairs = shared.at("pairs"), .held_out = shared.at("held_out")};
  }
  DpoTask task(*trained, data->pairs, held_out.pairs, std::move(reference),
               {.beta = options.beta,
                .label_smoothing = options.label_smoothing,
                .batch = options.common.batch,
                .row_tokens = options.common.row_tokens,
                .recompute = options.common.recompute,
                .seed = trainer.seed,
                .log = trainer.log,
                .stop = trainer.stop});
  return RunAndWrite(options.common, task, *trained);
}

}  // namespace blazon::service
