#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "language/tokenizer/utf8.h"
#include "service/training/train_seq2seq.h"

namespace blazon::service {
namespace {

absl::StatusOr<TextPair> ParseJsonPair(const std::string& line) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("is no JSON object");
  TextPair pair;
  for (const auto& [key, value] : object.items()) {
    if (key != "source" && key != "target")
      return absl::InvalidArgumentError(
          absl::StrCat("has an unknown field \"", key, "\"; fields are source and target"));
    if (!value.is_string()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is no string"));
    (key == "source" ? pair.source : pair.target) = value.get<std::string>();
  }
  return pair;
}

absl::StatusOr<TextPair> ParseTabPair(const std::string& line) {
  const size_t tab = line.find('\t');
  if (tab == std::string::npos || line.find('\t', tab + 1) != std::string::npos)
    return absl::InvalidArgumentError("is not SOURCE, one tab, TARGET");
  return TextPair{line.substr(0, tab), line.substr(tab + 1)};
}

}  // namespace

absl::StatusOr<std::vector<TextPair>> ReadTextPairs(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read"));
  const bool json = path.extension() == ".jsonl";
  std::vector<TextPair> pairs;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const auto at_line = [&](absl::string_view message) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": line ", number, " ", message));
    };
    if (!language::IsValidUtf8(line)) return at_line("is not UTF-8");
    absl::StatusOr<TextPair> pair = json ? ParseJsonPair(line) : ParseTabPair(line);
    if (!pair.ok()) return at_line(pair.status().message());
    if (pair->source.empty() || pair->target.empty()) return at_line("has an empty source or target");
    pairs.push_back(*std::move(pair));
  }
  if (pairs.empty()) return absl::InvalidArgumentError(absl::StrCat(path.string(), " has no pairs"));
  return pairs;
}

}  // namespace blazon::service
