// Whether what the language model wrote is borne out by the documents.
#pragma once

#include <string_view>
#include <vector>

namespace blazon::service {

// Whether an answer says what the evidence (a sentence with its title and headings) says and no more: its content words
// and numbers all stand there, written the same way; it keeps a negation where the evidence has one; and it adds
// something to the question. A small model that may use the question's own words turns "closed" into "open".
bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question);

// Runs of digits with '.', ',' and ':' inside: "3,800", "10:00", "9.4". They point into `text`.
std::vector<std::string_view> NumbersIn(std::string_view text);

// Whether it has a word that negates: "not", "never", "without".
bool HasNegation(std::string_view text);

}  // namespace blazon::service
