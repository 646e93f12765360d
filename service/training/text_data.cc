#include "service/training/text_data.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/tokenizer/utf8.h"
#include "service/checkpoint/quoted.h"
#include "service/training/csv.h"
#include "service/training/random_source.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::TokenId;
using language::TrainingExample;

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::NotFoundError(absl::StrCat(path.string(), " could not be read"));
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (stream.bad()) return absl::DataLossError(absl::StrCat(path.string(), " could not be read to its end"));
  return text;
}

absl::StatusOr<std::vector<std::string>> Column(const fs::path& path, const std::string& text,
                                                const std::string& column) {
  const auto rows = ParseCsv(text);
  if (!rows.ok()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", rows.status().message()));
  if (rows->empty()) return absl::InvalidArgumentError(absl::StrCat(path.string(), " is empty"));
  const std::vector<std::string>& names = (*rows)[0];
  const auto found = std::find(names.begin(), names.end(), column);
  if (found == names.end()) {
    return absl::NotFoundError(
        absl::StrCat(path.string(), " has no column ", Quoted(column), "; there are ", absl::StrJoin(names, ", ")));
  }
  const auto place = static_cast<size_t>(found - names.begin());
  std::vector<std::string> texts;
  for (size_t i = 1; i < rows->size(); ++i) {
    if ((*rows)[i].size() != names.size()) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": row ", i, " has ", (*rows)[i].size(),
                                                     " fields, and the header ", names.size()));
    }
    texts.push_back((*rows)[i][place]);
  }
  return texts;
}

absl::StatusOr<std::vector<fs::path>> FilesOf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::vector{path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path, error)) {
    const std::string ending = entry.path().extension().string();
    if (entry.is_regular_file(error) && (ending == ".txt" || ending == ".md")) files.push_back(entry.path());
  }
  if (files.empty()) return absl::NotFoundError(absl::StrCat(path.string(), " has no .txt or .md file in it"));
  std::sort(files.begin(), files.end());
  return files;
}

TrainingExample Piece(const std::vector<TokenId>& tokens, int64_t begin, int64_t count) {
  TrainingExample piece;
  piece.tokens.assign(tokens.begin() + begin, tokens.begin() + begin + count);
  piece.learned.assign(piece.tokens.size(), 1);
  return piece;
}

int64_t PieceCount(int64_t tokens, int64_t context) { return tokens < 2 * context ? 1 : (tokens - context) / context; }

}  // namespace

absl::StatusOr<TextData> ReadTextData(const std::vector<fs::path>& paths, const std::string& column,
                                      const LoadedLanguageModel& model) {
  TextData data;
  const auto add = [&](const std::string& text) {
    if (text.empty()) return;
    data.replaced += language::IsValidUtf8(text) ? 0 : 1;
    data.bytes += std::ssize(text);
    ++data.texts;
    const auto prefix = model.tokenizer->prefix();
    data.tokens.insert(data.tokens.end(), prefix.begin(), prefix.end());
    const std::vector<TokenId> tokens = model.tokenizer->Encode(text);
    data.tokens.insert(data.tokens.end(), tokens.begin(), tokens.end());
    if (!model.end_tokens.empty()) data.tokens.push_back(model.end_tokens[0]);
  };
  for (const fs::path& path : paths) {
    const absl::StatusOr<std::vector<fs::path>> files = FilesOf(path);
    if (!files.ok()) return files.status();
    for (const fs::path& file : *files) {
      absl::StatusOr<std::string> text = ReadFile(file);
      if (!text.ok()) return text.status();
      if (column.empty()) {
        add(*text);
        continue;
      }
      const absl::StatusOr<std::vector<std::string>> texts = Column(file, *text, column);
      if (!texts.ok()) return texts.status();
      for (const std::string& each : *texts) add(each);
    }
  }
  if (data.texts == 0 || data.tokens.size() < 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is nothing to learn: ", data.texts, " texts with ", data.bytes, " bytes"));
  }
  const int64_t vocabulary = model.model->config().vocabulary_size;
  for (const TokenId token : data.tokens) {
    if (token >= vocabulary)
      return absl::InvalidArgumentError(absl::StrCat("token ", token, " has no row in the model's embedding"));
  }
  return data;
}

TextSource::TextSource(const std::vector<TokenId>& tokens, int64_t context, uint64_t seed)
    : tokens_(tokens),
      context_(std::min<int64_t>(context, std::ssize(tokens))),
      seed_(seed),
      order_(static_cast<size_t>(PieceCount(std::ssize(tokens), context_)), seed) {}

TrainingExample TextSource::Next() {
  const auto piece = static_cast<int64_t>(order_.Next());
  const int64_t pieces = PieceCount(std::ssize(tokens_), context_);
  const int64_t spare = std::ssize(tokens_) - pieces * context_;
  RandomSource random(seed_ * 7919 + order_.pass());
  const int64_t begin = random.Below(std::min(spare, context_) + 1);  // of the first piece, in this pass
  return Piece(tokens_, begin + piece * context_, context_);
}

std::vector<TrainingExample> TextPieces(const std::vector<TokenId>& tokens, int64_t context) {
  std::vector<TrainingExample> pieces;
  for (int64_t begin = 0; begin + 1 < std::ssize(tokens); begin += context)
    pieces.push_back(Piece(tokens, begin, std::min(context, std::ssize(tokens) - begin)));
  return pieces;
}

}  // namespace blazon::service
