// Whether what the language model wrote is borne out by the documents.
#pragma once

#include <string_view>

namespace blazon::service {

// Whether an answer says what the evidence says: every number in it stands in the evidence or the question, written the
// same way; so do more than four of five of its content words (all of them when there are five or fewer); and it adds a
// word or a number of the evidence to what the question said already.
bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question);

}  // namespace blazon::service
