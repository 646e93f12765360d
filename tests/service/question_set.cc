#include "tests/service/question_set.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace blazon::service {
namespace {

std::string CollapseSpace(const std::string& text) {
  std::string result;
  for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    if (!result.empty()) result += ' ';
    result.append(word.data(), word.size());
  }
  return result;
}

}  // namespace

std::vector<MeasuredQuestion> ReadQuestions(const std::filesystem::path& file) {
  std::vector<MeasuredQuestion> questions;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.empty() || line[0] == '#' || absl::StartsWith(line, "id\t")) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    MeasuredQuestion question{fields.at(0), fields.at(1), fields.at(3), fields.at(4), {}};
    if (fields[2] != "-") question.expected = absl::StrSplit(fields[2], '|');
    questions.push_back(std::move(question));
  }
  return questions;
}

bool IsRight(const MeasuredQuestion& question, const std::string& answer) {
  const std::vector<absl::string_view> words = absl::StrSplit(answer, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
  return words.size() <= 25 &&
         std::any_of(question.expected.begin(), question.expected.end(), [&](const std::string& expected) {
           return absl::StrContains(absl::AsciiStrToLower(answer), absl::AsciiStrToLower(expected));
         });
}

bool CitesRight(const MeasuredQuestion& question, const AnswerResult& result) {
  return !result.sources.empty() && result.sources.front().path == question.document &&
         absl::StrContains(CollapseSpace(result.sources.front().text), CollapseSpace(question.evidence));
}

}  // namespace blazon::service
