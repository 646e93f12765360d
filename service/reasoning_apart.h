// Reasoning told apart from answers while they are written (language/reasoning.h). Free of tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/generation_result.h"
#include "language/reasoning.h"

namespace blazon::service {

// What becomes of reasoning in front of an answer: it is part of the text, marks and all; it is told apart; or it is
// left out.
enum class ReasoningMode { kInline, kSeparate, kHidden };

// Passes texts on to another sink with their reasoning told apart (OnReasoning), or left out, and what is still held
// back before OnDone. Each sequence is split for itself. Hidden reasoning stays in the result's tokens, which count it,
// and marks them as such (GenerationResult::hides_tokens).
//
// The sink's calls come one at a time, as of any sink.
class ReasoningApart : public language::TextSink {
 public:
  // open: the prompt ends within an opened span, so that the texts begin as reasoning.
  // sequences: of the request, at least 1.
  ReasoningApart(bool open, bool hidden, int64_t sequences, std::shared_ptr<language::TextSink> next);

  bool OnText(std::string_view text) override;
  bool OnSequenceText(int64_t index, std::string_view text) override;
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override;

 private:
  bool Pass(int64_t index, const language::ReasoningSplitter::Pieces& pieces);

  const bool open_, hidden_;
  const std::shared_ptr<language::TextSink> next_;
  std::vector<language::ReasoningSplitter> splitters_;  // of each sequence
  std::string reasoning_;                               // of the first
};

}  // namespace blazon::service
