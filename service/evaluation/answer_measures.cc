#include "service/evaluation/answer_measures.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace blazon::service {
namespace {

constexpr double kThresholdStep = 1e-4;

std::string OneSpaced(std::string_view text) {
  std::string result(text);
  std::replace_if(result.begin(), result.end(), absl::ascii_isspace, ' ');
  absl::RemoveExtraAsciiWhitespace(&result);
  return result;
}

absl::StatusOr<MeasuredQuestion> ParseQuestion(absl::string_view line) {
  std::vector<std::string> fields = absl::StrSplit(line, '\t');
  if (fields.size() < 3 || fields.size() > 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", fields.size(), " fields; with tabs between: id, question, expected, document, evidence, ",
                     "the last two as you like"));
  }
  static constexpr const char* kNames[] = {"id", "question", "expected", "document", "evidence"};
  for (size_t i = 0; i < fields.size(); ++i) {
    absl::StripAsciiWhitespace(&fields[i]);
    if (fields[i].empty()) return absl::InvalidArgumentError(absl::StrCat("has an empty field: ", kNames[i]));
  }
  fields.resize(5, "-");
  for (size_t i = 2; i < 5; ++i) {
    if (fields[i] == "-") fields[i].clear();
  }
  MeasuredQuestion question{.id = fields[0], .question = fields[1], .document = fields[3], .evidence = fields[4]};
  if (!fields[2].empty()) question.expected = absl::StrSplit(fields[2], '|');
  if (std::count(question.expected.begin(), question.expected.end(), "") > 0)
    return absl::InvalidArgumentError("expects an empty string, which every answer holds; see to the '|'");
  if (question.expected.empty() && !question.document.empty())
    return absl::InvalidArgumentError("names a document and expects no answer; give one, or '-' for the document");
  if (question.document.empty() && !question.evidence.empty())
    return absl::InvalidArgumentError("has evidence without a document");
  return question;
}

bool IsRefused(const MeasuredAnswer& answer, double threshold) {
  return !answer.found || answer.confidence < threshold;
}

// Steps to the greatest threshold that does not refuse this confidence.
double StepsTo(double confidence) {
  double steps = std::floor(confidence / kThresholdStep);
  while (steps > 0 && confidence < steps * kThresholdStep) --steps;  // the quotient was rounded up,
  while ((steps + 1) * kThresholdStep <= confidence) ++steps;        // or down
  return steps;
}

}  // namespace

std::string MeasuredQuestion::group() const {
  return std::string(id.begin(), std::find_if_not(id.begin(), id.end(), absl::ascii_isalpha));
}

absl::StatusOr<std::vector<MeasuredQuestion>> ParseMeasuredQuestions(std::string_view text) {
  std::vector<MeasuredQuestion> questions;
  std::set<std::string> ids;
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (absl::StripAsciiWhitespace(line).empty() || line[0] == '#') continue;
    if (questions.empty() && absl::StartsWith(line, "id\t")) continue;
    absl::StatusOr<MeasuredQuestion> question = ParseQuestion(line);
    if (!question.ok())
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " ", question.status().message()));
    if (!ids.insert(question->id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": the id ", absl::CHexEscape(question->id), " stands twice"));
    }
    questions.push_back(*std::move(question));
  }
  if (questions.empty()) return absl::InvalidArgumentError("there is no question in it");
  return questions;
}

bool IsRightAnswer(const MeasuredQuestion& question, std::string_view answer) {
  const absl::string_view text(answer.data(), answer.size());
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
  if (static_cast<int64_t>(words.size()) > kMaxAnswerWords) return false;
  const std::string lower = absl::AsciiStrToLower(text);
  return std::any_of(question.expected.begin(), question.expected.end(), [&](const std::string& expected) {
    return absl::StrContains(lower, absl::AsciiStrToLower(expected));
  });
}

bool HoldsEvidence(const MeasuredQuestion& question, std::string_view text) {
  return absl::StrContains(OneSpaced(text), OneSpaced(question.evidence));
}

AbstentionPoint MeasureThreshold(absl::Span<const MeasuredAnswer> answers, double threshold) {
  AbstentionPoint point{.threshold = threshold};
  for (const MeasuredAnswer& answer : answers) {
    const bool refused = IsRefused(answer, threshold);
    if (!answer.answerable) {
      point.refused += refused;
    } else {
      point.false_refusals += refused;
      point.right += !refused && answer.right;
      point.cited += !refused && answer.cited;
    }
  }
  return point;
}

std::vector<AbstentionPoint> AbstentionCurve(absl::Span<const MeasuredAnswer> answers) {
  std::set<double> thresholds = {0};
  for (const MeasuredAnswer& answer : answers) {
    if (answer.found) thresholds.insert(std::min((StepsTo(answer.confidence) + 1) * kThresholdStep, 1.0));
  }
  std::vector<AbstentionPoint> points;
  for (const double threshold : thresholds) points.push_back(MeasureThreshold(answers, threshold));
  return points;
}

absl::StatusOr<double> CalibrateThreshold(absl::Span<const MeasuredAnswer> answers, double max_false_refusals) {
  if (!(max_false_refusals >= 0 && max_false_refusals <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the share of false refusals is ", max_false_refusals, "; its range is 0 to 1"));
  }
  std::vector<double> own;
  for (const MeasuredAnswer& answer : answers) {
    if (answer.answerable) own.push_back(answer.found ? answer.confidence : -1);
  }
  if (own.empty())
    return absl::InvalidArgumentError("no question has an answer, and without one false refusals cannot be counted");
  std::sort(own.begin(), own.end());
  const auto allowed = static_cast<size_t>(max_false_refusals * static_cast<double>(own.size()) + 1e-9);
  if (allowed >= own.size()) return 1;
  if (own[allowed] < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("nothing was found for ", std::count(own.begin(), own.end(), -1), " of ", own.size(),
                     " questions that have an answer, more than may be refused; no threshold helps"));
  }
  return StepsTo(own[allowed]) * kThresholdStep;
}

Interval ShareInterval(int64_t hits, int64_t count) {
  constexpr double kDeviations = 1.959964;  // of the normal distribution, for 95 %
  const double n = static_cast<double>(count), share = static_cast<double>(hits) / n, z2 = kDeviations * kDeviations;
  const double centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kDeviations / (1 + z2 / n) * std::sqrt(share * (1 - share) / n + z2 / (4 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

}  // namespace blazon::service
