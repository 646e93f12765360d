// How well questions over documents are answered and refused, and from which confidence on they should be answered.
//
// Thread safety: functions may be called from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::service {

// A question that measures answers.
struct MeasuredQuestion {
  std::string id, question;
  std::vector<std::string> expected;  // any of them; empty: the documents have no answer
  std::string document, evidence;     // where the answer stands, and words of that place; empty: not said

  std::string group() const;  // the letters that the id begins with
};

// Lines of id, question, expected, document and evidence, with tabs between; the last two may be left out. Expected are
// strings with '|' between, or "-" where the documents have no answer; "-" also for a document or evidence that is not
// said. Empty lines, those that begin with '#', and one of column names (first "id") are passed over. kInvalidArgument
// names the line: it has not three to five fields, one is empty, an id stands twice, there is an answer's place without
// an answer, or evidence without a document.
absl::StatusOr<std::vector<MeasuredQuestion>> ParseMeasuredQuestions(std::string_view text);

// At most kMaxAnswerWords words, and one of the expected strings in it, without regard to case of ASCII letters.
inline constexpr int64_t kMaxAnswerWords = 25;
bool IsRightAnswer(const MeasuredQuestion& question, std::string_view answer);

// Whether the text holds the evidence, with every run of white space as one space.
bool HoldsEvidence(const MeasuredQuestion& question, std::string_view text);

// What came of a question when it was answered whatever the confidence.
struct MeasuredAnswer {
  std::string group;  // of the question
  bool answerable = false;
  bool found = false;  // false: nothing was found to answer with, so it is refused at any threshold
  double confidence = 0;
  bool right = false, cited = false;  // the answer; the first source
};

// What a threshold does.
struct AbstentionPoint {
  double threshold = 0;                              // what is less confident is refused
  int64_t right = 0, cited = 0, false_refusals = 0;  // of the answerable
  int64_t refused = 0;                               // of the others
};

AbstentionPoint MeasureThreshold(absl::Span<const MeasuredAnswer> answers, double threshold);

// 0 and each threshold, in ten-thousandths and ascending, from which on more is refused.
std::vector<AbstentionPoint> AbstentionCurve(absl::Span<const MeasuredAnswer> answers);

// The greatest threshold, in ten-thousandths, that refuses at most this share of the answerable.
// kInvalidArgument: the share is not 0 to 1, or nothing is answerable; kFailedPrecondition: nothing was found for more
// of them than that.
absl::StatusOr<double> CalibrateThreshold(absl::Span<const MeasuredAnswer> answers, double max_false_refusals);

// Where the share of a population lies of which `hits` of `count` drawn ones are, 95 times in 100 (Wilson 1927, Journal
// of the American Statistical Association 22). count > 0.
struct Interval {
  double low = 0, high = 1;
};
Interval ShareInterval(int64_t hits, int64_t count);

}  // namespace blazon::service
