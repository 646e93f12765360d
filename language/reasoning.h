// Text in which a model thinks before it answers: "<think>\n...\n</think>\n\n" in front of the answer, as Qwen3 and
// DeepSeek-R1 write it.
#pragma once

#include <string>
#include <string_view>

namespace blazon::language {

inline constexpr char kReasoningBegin[] = "<think>";
inline constexpr char kReasoningEnd[] = "</think>";

// The text that a model learns: the reasoning between its marks, then the answer.
std::string WithReasoning(std::string_view reasoning, std::string_view answer);

// Tells the two apart while the text comes, in pieces of any size; a mark may be cut anywhere.
//
// Reasoning is what stands between the marks at the beginning of the text; white space may come before the first mark.
// A text that begins otherwise is an answer, whatever follows. White space at both ends of the reasoning, and before
// the answer behind it, belongs to neither. Without the second mark all that follows the first is reasoning.
// All pieces, joined, do not depend on how the text was cut.
class ReasoningSplitter {
 public:
  struct Pieces {
    std::string reasoning, answer;
  };

  // open: the prompt has already opened the span (some chat templates do), so that the text begins within it.
  explicit ReasoningSplitter(bool open = false) : state_(open ? State::kInside : State::kBefore), fresh_(open) {}

  // What is certain after more text.
  Pieces Push(std::string_view text);
  // The end of the text: what was held back.
  Pieces Finish();

 private:
  enum class State { kBefore, kInside, kAfter };

  State state_;
  bool fresh_ = false;  // nothing but white space came since the last mark
  std::string held_;
};

// The whole of a text at once.
ReasoningSplitter::Pieces SplitReasoning(std::string_view text, bool open = false);

// Whether the text of a prompt ends with an opened span.
bool OpensReasoning(std::string_view prompt);

}  // namespace blazon::language
