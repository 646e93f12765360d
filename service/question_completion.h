// A question that goes on from earlier ones, made whole so that it can be searched for by itself: "And on Sundays?"
// after "When does the museum open?" is "When does the museum open on Sundays?". By rules for English, without a model:
// what is missing is carried over, word for word, from the question before; a question that stands by itself stays as
// it is. tests/reference/dev_follow_ups.tsv measures it.
//
// Thread safety: may be called from any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace blazon::service {

// A question that was asked before, and its answer; either may be empty.
struct EarlierTurn {
  std::string question, answer;
};

// `turns`: oldest first. Each of their questions is completed from those before it. The answer of the last turn gives
// the name that "he" or "she" stands for. The result has at most kMaxCompletedBytes, or is `question` itself.
std::string CompleteQuestion(std::string_view question, absl::Span<const EarlierTurn> turns);
inline constexpr size_t kMaxCompletedBytes = 512;

}  // namespace blazon::service
