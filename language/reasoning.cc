#include "language/reasoning.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

constexpr char kSpaces[] = " \t\r\n";

// Length of the longest end of `text` that may be the beginning of `mark`.
size_t MarkBegun(std::string_view text, std::string_view mark) {
  for (size_t length = std::min(text.size(), mark.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == mark.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

std::string WithReasoning(std::string_view reasoning, std::string_view answer) {
  const auto piece = [](std::string_view text) { return absl::string_view(text.data(), text.size()); };
  return absl::StrCat(kReasoningBegin, "\n", piece(reasoning), "\n", kReasoningEnd, "\n\n", piece(answer));
}

ReasoningSplitter::Pieces ReasoningSplitter::Push(std::string_view text) {
  const std::string_view begin = kReasoningBegin, end = kReasoningEnd;
  held_ += text;
  Pieces pieces;
  if (state_ == State::kBefore) {
    const size_t first = held_.find_first_not_of(kSpaces);
    if (first == std::string::npos) return pieces;
    const std::string_view rest = std::string_view(held_).substr(first);
    if (rest.size() < begin.size() && begin.substr(0, rest.size()) == rest) return pieces;  // may become the mark
    if (rest.substr(0, begin.size()) == begin) {
      held_.erase(0, first + begin.size());
      state_ = State::kInside;
      fresh_ = true;
    } else {
      state_ = State::kAfter;
    }
  }
  if (state_ == State::kInside) {
    if (fresh_) {
      held_.erase(0, std::min(held_.find_first_not_of(kSpaces), held_.size()));
      fresh_ = held_.empty();
    }
    const size_t mark = held_.find(end);
    // Certain is what stands before the mark, or before what may become it, but for white space at its end.
    const std::string_view sure =
        std::string_view(held_).substr(0, mark != std::string::npos ? mark : held_.size() - MarkBegun(held_, end));
    const size_t length = sure.find_last_not_of(kSpaces) + 1;  // npos + 1 is 0
    pieces.reasoning = std::string(sure.substr(0, length));
    if (mark == std::string::npos) {
      held_.erase(0, length);
      return pieces;
    }
    held_.erase(0, mark + end.size());
    state_ = State::kAfter;
    fresh_ = true;
  }
  if (fresh_) {
    held_.erase(0, std::min(held_.find_first_not_of(kSpaces), held_.size()));
    fresh_ = held_.empty();
  }
  pieces.answer.swap(held_);
  return pieces;
}

ReasoningSplitter::Pieces ReasoningSplitter::Finish() {
  Pieces pieces;
  if (state_ == State::kInside) {
    pieces.reasoning = held_.substr(0, held_.find_last_not_of(kSpaces) + 1);
  } else {
    pieces.answer = held_;
  }
  held_.clear();
  return pieces;
}

ReasoningSplitter::Pieces SplitReasoning(std::string_view text, bool open) {
  ReasoningSplitter splitter(open);
  ReasoningSplitter::Pieces pieces = splitter.Push(text);
  const ReasoningSplitter::Pieces rest = splitter.Finish();
  pieces.reasoning += rest.reasoning;
  pieces.answer += rest.answer;
  return pieces;
}

bool OpensReasoning(std::string_view prompt) {
  const size_t last = prompt.find_last_not_of(kSpaces);
  const std::string_view mark = kReasoningBegin;
  return last != std::string_view::npos && prompt.substr(0, last + 1).ends_with(mark);
}

}  // namespace blazon::language
