// Whether what the language model wrote is borne out by the documents.
#pragma once

#include <string_view>

namespace blazon::service {

// Whether an answer says what the evidence (a sentence with its title and headings) says and no more: its content words
// and numbers all stand there, written the same way; it keeps a negation where the evidence has one; and it adds
// something to the question. A small model that may use the question's own words turns "closed" into "open".
bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question);

}  // namespace blazon::service
