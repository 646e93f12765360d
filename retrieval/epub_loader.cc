// EPUB (W3C EPUB 3.3): the pages of the spine in order, by the HTML loader; each is a place, "chapter=N".
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/office_package.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"
#include "retrieval/zip_archive.h"

namespace blazon::retrieval {
namespace {

// "%20" to " "; without what follows '#'.
std::string DecodeReference(std::string_view reference) {
  reference = reference.substr(0, reference.find('#'));
  std::string decoded;
  for (size_t i = 0; i < reference.size(); ++i) {
    const auto is_hex = [&](size_t at) {
      return at < reference.size() && absl::ascii_isxdigit(static_cast<unsigned char>(reference[at]));
    };
    if (reference[i] == '%' && is_hex(i + 1) && is_hex(i + 2)) {
      decoded += absl::HexStringToBytes(std::string(reference.substr(i + 1, 2)));
      i += 2;
    } else {
      decoded += reference[i];
    }
  }
  return decoded;
}

struct EpubItem {
  std::string name;
  bool is_html = false;
};

}  // namespace

absl::Status LoadEpub(std::string_view bytes, const LoaderLimits& limits, Document& document) {
  absl::StatusOr<std::unique_ptr<ZipArchive>> archive = ZipArchive::Open(bytes, limits);
  if (!archive.ok()) return archive.status();
  absl::StatusOr<std::string> container = (*archive)->Read("META-INF/container.xml");
  if (absl::IsNotFound(container.status()))
    return absl::InvalidArgumentError("by its name it is an EPUB book, by its content another zip file");
  if (!container.ok()) return container.status();
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> container_xml = ParseXml(*container, "META-INF/container.xml");
  if (!container_xml.ok()) return container_xml.status();
  const std::string package_name =
      DecodeReference(Attribute(Child(**container_xml, "container", "rootfiles", "rootfile"), "full-path"));
  absl::StatusOr<std::string> package = (*archive)->Read(package_name);
  if (!package.ok()) return absl::InvalidArgumentError(package.status().message());
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> package_xml = ParseXml(*package, package_name);
  if (!package_xml.ok()) return package_xml.status();
  const pugi::xml_node root = Child(**package_xml, "package");
  document.title = ToCleanUtf8(StripWhitespace(TextOf(Child(root, "metadata", "title"))));
  const std::string author = ToCleanUtf8(StripWhitespace(TextOf(Child(root, "metadata", "creator"))));
  if (!author.empty()) document.metadata["author"] = author;

  std::set<std::string> encrypted;  // fonts are, in honest books; pages only where a licence is asked for
  if (absl::StatusOr<std::string> list = (*archive)->Read("META-INF/encryption.xml"); list.ok()) {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = ParseXml(*list, "META-INF/encryption.xml");
    if (!xml.ok()) return xml.status();
    for (const pugi::xml_node& data : Child(**xml, "encryption").children())
      encrypted.insert(DecodeReference(Attribute(Child(data, "CipherData", "CipherReference"), "URI")));
  }
  std::map<std::string, EpubItem> pages;  // by id
  for (const pugi::xml_node& item : Child(root, "manifest").children()) {
    const std::string_view type = Attribute(item, "media-type");
    pages[std::string(Attribute(item, "id"))] = {ResolvePart(package_name, DecodeReference(Attribute(item, "href"))),
                                                 type == "application/xhtml+xml" || type == "text/html"};
  }
  int number = 0;
  std::vector<int> missing;
  for (const pugi::xml_node& reference : Child(root, "spine").children()) {
    const auto page = pages.find(std::string(Attribute(reference, "idref")));
    if (LocalName(reference) != "itemref" || page == pages.end() || !page->second.is_html) continue;
    if (++number > limits.max_pages)
      return absl::InvalidArgumentError(absl::StrCat("it has more than ", limits.max_pages, " chapters"));
    if (encrypted.contains(page->second.name))
      return absl::InvalidArgumentError("its pages are encrypted for a licence; it cannot be read without");
    absl::StatusOr<std::string> html = (*archive)->Read(page->second.name);
    if (absl::IsNotFound(html.status())) {
      missing.push_back(number);
      continue;
    }
    if (!html.ok()) return html.status();
    absl::StatusOr<DecodedText> decoded = DecodeText(*html);
    if (!decoded.ok()) return decoded.status();
    Document chapter;
    if (absl::Status status = LoadHtml(decoded->text, limits, chapter); !status.ok()) return status;
    if (StripWhitespace(chapter.text).empty()) continue;  // a cover
    if (!document.text.empty()) document.text += '\n';
    const size_t begin = document.text.size();
    document.places.push_back({begin, absl::StrCat("chapter=", number)});
    if (begin > 0 && (chapter.sections.empty() || chapter.sections.front().begin > 0))
      document.sections.push_back({begin, {}});
    for (Section& section : chapter.sections) {
      section.begin += begin;
      document.sections.push_back(std::move(section));
    }
    document.text += chapter.text;
    if (document.text.size() > limits.max_text_bytes) break;  // the caller refuses it
  }
  if (number == 0) return absl::InvalidArgumentError("it is a damaged book: its spine names no pages");
  if (!missing.empty()) {
    std::string which;
    for (const int one : missing) absl::StrAppend(&which, which.empty() ? "" : ", ", one);
    document.warnings.push_back(absl::StrCat("chapters that it names are missing from it: ", which));
  }
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
