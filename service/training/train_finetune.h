// blazon train finetune: a language model goes on learning from plain texts (text_data.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "service/training/language_training.h"

namespace blazon::service {

struct TrainFinetuneOptions {
  LanguageTrainingOptions common = {};
  std::vector<std::filesystem::path> data;
  std::string column;                             // of CSV files; empty: the files are texts
  std::vector<std::filesystem::path> evaluation;  // held-out texts of the same kind; may be empty
  int64_t context = 256;                          // tokens of a piece
};

// As TrainSft.
absl::Status TrainFinetune(const TrainFinetuneOptions& options);

}  // namespace blazon::service
