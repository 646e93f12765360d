// The 1000 ImageNet classes in plain English, with their kinds.
#pragma once

#include <cstdint>
#include <string>

#include "service/families/tagger.h"

namespace blazon::service {

// The concept of class `index`, whose first label in the encoder's list is `label`. The classes stand in WordNet's
// order, so that runs of indices share a kind (151 to 268 are dogs).
Concept ImageNetConcept(int64_t index, const std::string& label);

}  // namespace blazon::service
