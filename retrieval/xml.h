// XML of documents that nobody vouches for: pugixml behind a budget of memory.
//
// Entities that a document declares and external references are never followed; a document that declares entities is
// refused. Names are looked up without their namespace prefix, which writers choose freely.
// Thread safety: all functions may run together.
#pragma once

#include <memory>
#include <pugixml.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

// kInvalidArgument: not well-formed, entities declared, or more memory wanted than 64 MiB and 32 times the bytes, at
// most 1 GiB. `name` stands in the message.
absl::StatusOr<std::unique_ptr<pugi::xml_document>> ParseXml(std::string_view bytes, std::string_view name);

// Without prefix: "p" of "w:p". Empty for what is no element.
std::string_view LocalName(const pugi::xml_node& node);
// The value of an attribute of this local name; empty when there is none.
std::string_view Attribute(const pugi::xml_node& node, std::string_view local_name);
// The same as a number, `otherwise` when there is none or it is no number.
int64_t NumberAttribute(const pugi::xml_node& node, std::string_view local_name, int64_t otherwise);
// The first child element of this local name; null when there is none.
pugi::xml_node Child(const pugi::xml_node& node, std::string_view local_name);
// The same along a path: Child(Child(node, a), b)...
template <typename... Names>
pugi::xml_node Child(const pugi::xml_node& node, std::string_view first, Names... rest) {
  return Child(Child(node, first), rest...);
}
// The text of an element that has nothing else in it.
std::string_view TextOf(const pugi::xml_node& node);

}  // namespace blazon::retrieval
