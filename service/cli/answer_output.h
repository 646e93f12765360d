// How answers from documents are shown to a person.
#pragma once

#include <functional>
#include <string>

#include "blazon/v1/answer.pb.h"

namespace blazon::service::cli {

// For Backend::Ask: says on standard error what is looked for, where that is not `question` itself.
std::function<void(const v1::AskSources&)> NoteAsked(const std::string& question);

// The sentences that the answer was made from, word for word, under where they stand.
void PrintSentences(const v1::AskResponse& response);

// Each sentence of the answer and where it is borne out, or that nothing bears it out.
void PrintSupport(const v1::AskResponse& response);

// The sentences of the answer that nothing bears out; prints nothing when there are none.
void PrintUnsupported(const v1::AskResponse& response);

// The pieces that were found and could not be read, and why; prints nothing when there are none.
void PrintUnread(const v1::AskResponse& response);

}  // namespace blazon::service::cli
