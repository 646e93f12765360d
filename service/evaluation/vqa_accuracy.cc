#include "service/evaluation/vqa_accuracy.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace blazon::service {
namespace {

using nlohmann::json;

constexpr size_t kReferences = 10;  // of a question, by the measure's definition
constexpr int kMostPeriods = 32;    // that the tool removes from one answer
constexpr std::string_view kPunctuation = ";:/'[]\"()=+\\_><@`,?";
constexpr std::array<std::string_view, 11> kNumbers = {"zero", "one",   "two",   "three", "four", "five",
                                                       "six",  "seven", "eight", "nine",  "ten"};

bool IsDigit(const std::string& text, size_t at) {
  return at < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[at]));
}

// A mark beside a space goes, and becomes a space elsewhere; in a text with a number such as 1,000 all go. Periods that
// no digit follows go.
std::string WithoutPunctuation(const std::string& text) {
  bool grouped = false;  // digits by commas
  for (size_t i = 1; i + 1 < text.size(); ++i)
    grouped |= text[i] == ',' && IsDigit(text, i - 1) && IsDigit(text, i + 1);
  std::string result = text;
  for (const char mark : kPunctuation) {
    const bool beside =
        absl::StrContains(text, std::string{mark, ' '}) || absl::StrContains(text, std::string{' ', mark});
    if (beside || grouped) {
      std::erase(result, mark);
    } else {
      std::replace(result.begin(), result.end(), mark, ' ');
    }
  }
  std::string bare;
  int periods = 0;
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i] == '.' && !IsDigit(result, i + 1) && periods < kMostPeriods) {
      ++periods;
    } else {
      bare += result[i];
    }
  }
  return bare;
}

std::string Trimmed(std::string_view text) {
  const std::string spaced = absl::StrReplaceAll(std::string(text), {{"\n", " "}, {"\t", " "}});
  return std::string(absl::StripAsciiWhitespace(spaced));
}

absl::Status WrongFile(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

struct FileEntry {
  json object;
  std::string where;
};

// The objects of a list, of "annotations", or of lines.
absl::StatusOr<std::vector<FileEntry>> ReadEntries(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read"));
  const std::string contents{std::istreambuf_iterator<char>(in), {}};
  std::vector<FileEntry> entries;
  const json whole = json::parse(contents, nullptr, /*allow_exceptions=*/false);
  const bool annotations = whole.is_object() && whole.contains("annotations");
  if (whole.is_array() || annotations) {
    for (const json& object : annotations ? whole["annotations"] : whole)
      entries.push_back({object, absl::StrCat(path.string(), ", entry ", entries.size())});
  } else {
    int64_t number = 0;
    for (const absl::string_view line : absl::StrSplit(contents, '\n')) {
      ++number;
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      const std::string where = absl::StrCat(path.string(), ":", number);
      json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
      if (object.is_discarded()) return WrongFile(where, "the line is no JSON");
      entries.push_back({std::move(object), where});
    }
  }
  for (const FileEntry& entry : entries) {
    if (!entry.object.is_object()) return WrongFile(entry.where, "an object is expected");
  }
  if (entries.empty()) return WrongFile(path.string(), "there is no answer in it");
  return entries;
}

absl::StatusOr<std::string> QuestionId(const FileEntry& entry) {
  for (const char* member : {"question_id", "id"}) {
    const auto found = entry.object.find(member);
    if (found == entry.object.end()) continue;
    if (found->is_string()) return found->get<std::string>();
    if (found->is_number_integer()) return found->dump();
  }
  return WrongFile(entry.where, "no question is named in \"question_id\" or \"id\"");
}

absl::StatusOr<std::string> AnswerOf(const FileEntry& entry) {
  for (const char* member : {"answer", "text"}) {
    const auto found = entry.object.find(member);
    if (found != entry.object.end() && found->is_string()) return found->get<std::string>();
  }
  return WrongFile(entry.where, "no answer stands in \"answer\" or \"text\"");
}

absl::StatusOr<std::vector<std::string>> ReferencesOf(const FileEntry& entry) {
  const auto several = entry.object.find("answers");
  if (several == entry.object.end()) {
    const absl::StatusOr<std::string> one = AnswerOf(entry);
    if (!one.ok()) return one.status();
    return std::vector<std::string>{*one};
  }
  std::vector<std::string> references;
  for (const json& each : *several) {
    const json& text = each.is_object() && each.contains("answer") ? each["answer"] : each;
    if (!text.is_string()) return WrongFile(entry.where, "an answer is no string");
    references.push_back(text.get<std::string>());
  }
  if (references.empty()) return WrongFile(entry.where, "\"answers\" is empty");
  return references;
}

}  // namespace

std::string NormalizedAnswer(std::string_view answer) {
  std::vector<std::string> words;
  const std::string bare = absl::AsciiStrToLower(WithoutPunctuation(Trimmed(answer)));
  for (const absl::string_view word : absl::StrSplit(bare, absl::ByAnyChar(" \t\n\r\f\v"), absl::SkipEmpty())) {
    if (word == "a" || word == "an" || word == "the") continue;
    const auto number = std::find(kNumbers.begin(), kNumbers.end(), std::string_view(word.data(), word.size()));
    words.push_back(word == "none"             ? "0"
                    : number != kNumbers.end() ? absl::StrCat(number - kNumbers.begin())
                                               : std::string(word));
  }
  return absl::StrJoin(words, " ");
}

double VqaAccuracy(std::string_view answer, absl::Span<const std::string> references) {
  const std::string normalized = NormalizedAnswer(answer);
  const bool differ = std::set<std::string>(references.begin(), references.end()).size() > 1;
  std::vector<bool> equal;
  for (const std::string& reference : references)
    equal.push_back((differ ? WithoutPunctuation(reference) : reference) == normalized);
  const auto matching = static_cast<double>(std::count(equal.begin(), equal.end(), true));
  double sum = 0;
  for (const bool without : equal) sum += std::min(1.0, (matching - (without ? 1 : 0)) / 3);
  return equal.empty() ? 0 : sum / static_cast<double>(equal.size());
}

absl::StatusOr<VqaScores> ScoreAnswers(absl::Span<const AnswerPair> pairs) {
  if (pairs.empty()) return absl::InvalidArgumentError("there are no answers to score");
  VqaScores scores;
  for (const AnswerPair& pair : pairs) {
    if (pair.references.empty())
      return absl::InvalidArgumentError(absl::StrCat("question ", pair.id, " has no answer by people"));
    ++scores.questions;
    const std::string normalized = NormalizedAnswer(pair.answer);
    const bool exact = std::any_of(pair.references.begin(), pair.references.end(),
                                   [&](const std::string& each) { return NormalizedAnswer(each) == normalized; });
    scores.exact += exact ? 1 : 0;
    if (pair.references.size() != kReferences) continue;
    ++scores.ten;
    scores.accuracy += VqaAccuracy(pair.answer, pair.references);
  }
  scores.exact /= static_cast<double>(scores.questions);
  if (scores.ten > 0) scores.accuracy /= static_cast<double>(scores.ten);
  return scores;
}

absl::StatusOr<std::vector<AnswerPair>> ReadAnswerPairs(const std::filesystem::path& answers,
                                                        const std::filesystem::path& references) {
  const absl::StatusOr<std::vector<FileEntry>> said = ReadEntries(answers), written = ReadEntries(references);
  if (!said.ok()) return said.status();
  if (!written.ok()) return written.status();
  std::map<std::string, std::vector<std::string>> by_id;
  for (const FileEntry& entry : *written) {
    const absl::StatusOr<std::string> id = QuestionId(entry);
    if (!id.ok()) return id.status();
    absl::StatusOr<std::vector<std::string>> texts = ReferencesOf(entry);
    if (!texts.ok()) return texts.status();
    if (!by_id.emplace(*id, *std::move(texts)).second)
      return WrongFile(entry.where, absl::StrCat("question ", *id, " stands there twice"));
  }
  std::vector<AnswerPair> pairs;
  std::set<std::string> seen;
  for (const FileEntry& entry : *said) {
    const absl::StatusOr<std::string> id = QuestionId(entry), text = AnswerOf(entry);
    if (!id.ok()) return id.status();
    if (!text.ok()) return text.status();
    const auto found = by_id.find(*id);
    if (found == by_id.end())
      return WrongFile(entry.where, absl::StrCat("question ", *id, " is not among the references"));
    if (!seen.insert(*id).second) return WrongFile(entry.where, absl::StrCat("question ", *id, " stands there twice"));
    pairs.push_back({*id, *text, found->second});
  }
  return pairs;
}

}  // namespace blazon::service
