// Makes a tokenizer from texts: what 'blazon train tokenizer' does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/pipeline_tokenizer.h"
#include "service/training/text_corpus.h"

namespace blazon::service {

struct TrainTokenizerOptions {
  std::vector<std::filesystem::path> data = {};  // see ReadTextCorpus
  std::filesystem::path output = {};             // a folder; made if it is not there
  std::string kind = "bpe";                      // byte, character, word, bpe
  int64_t vocabulary_size = 8192;
  int64_t min_frequency = 2;
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  bool overwrite = false;  // a tokenizer that is there
  std::function<void(const std::string& line)> log = [](const std::string&) {};
};

// kInvalidArgument: an option is out of range; the message names it. kAlreadyExists: there is a tokenizer in `output`.
// And what ReadTextCorpus and SaveTokenizer say.
absl::Status TrainTokenizer(const TrainTokenizerOptions& options);

// The tokenizer that the options ask for, learned from the texts of `corpus`.
absl::StatusOr<language::TokenizerConfig> LearnTokenizer(const TrainTokenizerOptions& options,
                                                         const TextCorpus& corpus);

// "4.4 MB in 3 texts", with a warning where there was invalid UTF-8.
std::string DescribeCorpus(const TextCorpus& corpus);

}  // namespace blazon::service
