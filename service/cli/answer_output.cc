#include "service/cli/answer_output.h"

#include <iostream>

#include "absl/strings/str_format.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

const v1::ScoredChunk& PieceOf(const v1::AskResponse& response, int piece) {
  return piece < response.sources_size() ? response.sources(piece) : response.dropped(piece - response.sources_size());
}

}  // namespace

std::function<void(const v1::AskSources&)> NoteAsked(const std::string& question) {
  return [question](const v1::AskSources& sources) {
    if (sources.asked() != question) std::cerr << "(looking for: " << sources.asked() << ")\n";
  };
}

void PrintSentences(const v1::AskResponse& response) {
  if (response.sentences_size() == 0) return;
  std::cout << "\nFrom:\n";
  for (const v1::SupportingSentence& sentence : response.sentences()) {
    const v1::ScoredChunk& source = response.sources(sentence.source());
    std::cout << "  " << Citation(source, sentence.line()) << "\n    " << sentence.text() << "\n";
  }
}

void PrintSupport(const v1::AskResponse& response) {
  if (response.support_size() == 0) return;
  std::cout << "\nBorne out by:\n";
  for (const v1::AnswerSentence& sentence : response.support()) {
    std::cout << "  " << sentence.text() << "\n";
    for (const v1::Citation& citation : sentence.citations()) {
      std::cout << absl::StrFormat("    %.2f %s, bytes %d to %d\n", citation.score(),
                                   Citation(PieceOf(response, citation.piece()), citation.line()),
                                   citation.begin_byte(), citation.end_byte());
    }
    if (!sentence.supported()) std::cout << "    nothing that was found\n";
  }
}

void PrintUnsupported(const v1::AskResponse& response) {
  for (const v1::AnswerSentence& sentence : response.support()) {
    if (!sentence.supported()) std::cout << "  (nothing that was found bears this out: " << sentence.text() << ")\n";
  }
}

void PrintUnread(const v1::AskResponse& response) {
  for (int i = 0; i < response.dropped_size() && i < response.drop_reasons_size(); ++i) {
    const v1::DropReason reason = response.drop_reasons(i);
    if (reason != v1::DROP_REASON_NO_ROOM && reason != v1::DROP_REASON_NOT_READ) continue;
    std::cout << "(Found, but " << (reason == v1::DROP_REASON_NO_ROOM ? "longer than --context-tokens: " : "not read: ")
              << Citation(response.dropped(i), response.dropped(i).line()) << ")\n";
  }
}

}  // namespace blazon::service::cli
