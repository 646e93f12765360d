// Plain texts for fine-tuning: files, folders of files, or a column of a table, as one run of tokens that is learned
// piece by piece.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/language_task.h"

namespace blazon::service {

struct TextData {
  std::vector<language::TokenId> tokens;  // of all texts; behind each the token that ends texts
  int64_t texts = 0;
  int64_t bytes = 0;
  int64_t replaced = 0;  // texts with bytes that are no UTF-8; those were read as U+FFFD
};

// path: a file is one text; of a folder every .txt and .md file below it, in the order of their names, is one; with a
// `column`, a file is CSV (RFC 4180) with a header, and each row's field of that name is a text.
// kNotFound: no such file or column; kInvalidArgument: nothing to learn, or CSV that is none; the message names file
// and line.
absl::StatusOr<TextData> ReadTextData(const std::vector<std::filesystem::path>& paths, const std::string& column,
                                      const LoadedLanguageModel& model);

// Pieces of `context` tokens, one behind the other, in an order drawn for each pass; where the first begins is drawn
// for each pass too, so that no boundary stays. A run shorter than two pieces is one.
class TextSource : public ExampleSource {
 public:
  // tokens: at least 2; must outlive the source. context: at least 2.
  TextSource(const std::vector<language::TokenId>& tokens, int64_t context, uint64_t seed);

  language::TrainingExample Next() override;
  nlohmann::json Position() const override { return order_.Position(); }
  absl::Status SetPosition(const nlohmann::json& position) override { return order_.SetPosition(position); }

 private:
  const std::vector<language::TokenId>& tokens_;
  const int64_t context_;
  const uint64_t seed_;
  ShuffledOrder order_;
};

// All of `tokens` in pieces of `context`, for measuring.
std::vector<language::TrainingExample> TextPieces(const std::vector<language::TokenId>& tokens, int64_t context);

}  // namespace blazon::service
