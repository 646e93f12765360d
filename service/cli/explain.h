// How each token of a text came to be chosen, as tables to read.
#pragma once

#include "blazon/v1/generation.pb.h"

namespace blazon::service::cli {

// Prints a table for each step of `response`: a line for each token, a column for each rule with the token's
// probability after it, "-" where the rule has excluded it. "*" marks the token that was chosen.
void PrintSteps(const v1::GenerateResponse& response);

}  // namespace blazon::service::cli
