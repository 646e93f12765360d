// Which things could be taken for one another by name, so that a question about an absent thing has a true answer.
#pragma once

#include <string>
#include <vector>

namespace blazon::service {

// A name and the kind that it belongs to; an empty kind: none.
struct NamedThing {
  std::string name;
  std::string kind;
};

// Whether a thing that is called `first` could be called `second` too, or the reverse: the same words, one within the
// other ("car" and "police car"), or of a list of likes ("hen" and "rooster").
bool AreAlike(const std::string& first, const std::string& second);

// Kinds that are asked about where no such thing is: "bird", "musical instrument".
const std::vector<std::string>& AskedKinds();

// The kind that all of `kind` belong to as well: "vehicle" of "truck"; null: none is known.
const char* BroaderKind(const std::string& kind);

// Whether a thing surely is not of `kind`, one of AskedKinds: its own kind is of another part of the world.
bool IsSurelyNot(const NamedThing& thing, const std::string& kind);

}  // namespace blazon::service
