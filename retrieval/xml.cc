#include "retrieval/xml.h"

#include <algorithm>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

thread_local size_t bytes_left = SIZE_MAX;

void* Allocate(size_t size) {
  if (size > bytes_left) return nullptr;
  if (bytes_left != SIZE_MAX) bytes_left -= size;
  return std::malloc(size);
}

std::string_view WithoutPrefix(std::string_view name) {
  const size_t colon = name.find(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<pugi::xml_document>> ParseXml(std::string_view bytes, std::string_view name) {
  static const bool once = [] {
    pugi::set_memory_management_functions(Allocate, std::free);
    return true;
  }();
  (void)once;
  if (bytes.find("<!ENTITY") != std::string_view::npos)
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), " in it declares XML entities"));
  auto document = std::make_unique<pugi::xml_document>();
  bytes_left = std::min<size_t>((size_t{64} << 20) + 32 * bytes.size(), size_t{1} << 30);
  const absl::Cleanup lift = [] { bytes_left = SIZE_MAX; };
  // Spaces between elements are kept: those of a run of text count.
  const pugi::xml_parse_result result =
      document->load_buffer(bytes.data(), bytes.size(), pugi::parse_default | pugi::parse_ws_pcdata_single);
  if (result.status == pugi::status_out_of_memory)
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), " in it takes too much memory to be read"));
  if (!result) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(name), " in it is not XML (", result.description(), " at byte ", result.offset, ")"));
  }
  return document;
}

std::string_view LocalName(const pugi::xml_node& node) {
  return node.type() == pugi::node_element ? WithoutPrefix(node.name()) : std::string_view();
}

std::string_view Attribute(const pugi::xml_node& node, std::string_view local_name) {
  for (const pugi::xml_attribute& attribute : node.attributes()) {
    if (WithoutPrefix(attribute.name()) == local_name) return attribute.value();
  }
  return "";
}

int64_t NumberAttribute(const pugi::xml_node& node, std::string_view local_name, int64_t otherwise) {
  int64_t number = 0;
  return absl::SimpleAtoi(std::string(Attribute(node, local_name)), &number) ? number : otherwise;
}

pugi::xml_node Child(const pugi::xml_node& node, std::string_view local_name) {
  for (const pugi::xml_node& child : node.children()) {
    if (LocalName(child) == local_name) return child;
  }
  return {};
}

std::string_view TextOf(const pugi::xml_node& node) { return node.child_value(); }

}  // namespace blazon::retrieval
