// How well a sentence bears out an answer to a question: the part of answering that decides what to refuse.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/embedder.h"

namespace blazon::service {

// How much of what the question asks is spoken of in `evidence` (a sentence with its title and headings), [0, 1]: the
// mean over the question's content words of the similarity to the nearest word of the evidence, by embedding, so that
// "price" is met by "euros" but "salary" is not met by "archivist". After the late interaction of Khattab and Zaharia
// 2020 (arXiv 2004.12832), on whole words. 0 when either side has no words.
absl::StatusOr<double> WordCoverage(std::string_view question, std::string_view evidence,
                                    const retrieval::Embedder& embedder);

// Whether an answer says what the evidence says: every number in it stands in the evidence or the question, written the
// same way; so do at least half of its content words; and it adds a word or a number of the evidence to what the
// question said already.
bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question);

}  // namespace blazon::service
