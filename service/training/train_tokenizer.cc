#include "service/training/train_tokenizer.h"

#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/tokenizer/tokenizer_trainer.h"
#include "service/checkpoint/tokenizer_writer.h"

namespace blazon::service {

std::string DescribeCorpus(const TextCorpus& corpus) {
  std::string line = absl::StrFormat("%.2f MB in %d texts", static_cast<double>(corpus.bytes) / 1e6,
                                     static_cast<int64_t>(corpus.texts.size()));
  if (corpus.repaired > 0)
    absl::StrAppend(&line, "; ", corpus.repaired, " places were not UTF-8 and are read as U+FFFD");
  return line;
}

absl::StatusOr<language::TokenizerConfig> LearnTokenizer(const TrainTokenizerOptions& options,
                                                         const TextCorpus& corpus) {
  const absl::StatusOr<language::TokenizerKind> kind = language::ParseTokenizerKind(options.kind);
  if (!kind.ok()) return kind.status();
  absl::StatusOr<language::TokenizerTrainer> trainer =
      language::TokenizerTrainer::Create({.kind = *kind,
                                          .vocabulary_size = options.vocabulary_size,
                                          .min_frequency = options.min_frequency,
                                          .special_tokens = options.special_tokens});
  if (!trainer.ok()) return trainer.status();
  for (const std::string& text : corpus.texts) trainer->Add(text);
  return trainer->Train();
}

absl::Status TrainTokenizer(const TrainTokenizerOptions& options) {
  std::error_code error;
  if (!options.overwrite && std::filesystem::exists(options.output / "tokenizer.json", error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(options.output.string(), " has a tokenizer; name another folder, or give --overwrite"));
  }
  const absl::StatusOr<TextCorpus> corpus = ReadTextCorpus(options.data);
  if (!corpus.ok()) return corpus.status();
  options.log(DescribeCorpus(*corpus));
  absl::StatusOr<language::TokenizerConfig> config = LearnTokenizer(options, *corpus);
  if (!config.ok()) return config.status();
  std::filesystem::create_directories(options.output, error);
  if (error) return absl::UnavailableError(absl::StrCat(options.output.string(), ": ", error.message()));
  if (absl::Status status = SaveTokenizer(*config, options.output); !status.ok()) return status;
  const auto tokenizer = language::PipelineTokenizer::Create(*std::move(config));
  if (!tokenizer.ok()) return tokenizer.status();
  int64_t tokens = 0;
  for (const std::string& text : corpus->texts) tokens += static_cast<int64_t>((*tokenizer)->Encode(text).size());
  options.log(absl::StrFormat("%d tokens in the vocabulary; the texts are %d tokens, %.2f bytes each",
                              (*tokenizer)->vocabulary_size(), tokens,
                              static_cast<double>(corpus->bytes) / static_cast<double>(tokens)));
  return absl::OkStatus();
}

}  // namespace blazon::service
