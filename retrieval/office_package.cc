#include "retrieval/office_package.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"

namespace blazon::retrieval {

std::string ResolvePart(std::string_view part, std::string_view target) {
  std::vector<std::string> folders;
  const size_t slash = part.rfind('/');
  if (!target.starts_with('/') && slash != std::string_view::npos)
    folders = absl::StrSplit(std::string(part.substr(0, slash)), '/', absl::SkipEmpty());
  for (const absl::string_view step : absl::StrSplit(std::string(target), '/', absl::SkipEmpty())) {
    if (step == ".") continue;
    if (step != "..") {
      folders.emplace_back(step);
    } else if (!folders.empty()) {
      folders.pop_back();
    }
  }
  return absl::StrJoin(folders, "/");
}

absl::StatusOr<std::unique_ptr<OfficePackage>> OfficePackage::Open(std::string_view bytes, std::string_view content,
                                                                   const LoaderLimits& limits) {
  absl::StatusOr<std::unique_ptr<ZipArchive>> archive = ZipArchive::Open(bytes, limits);
  if (!archive.ok()) return archive.status();
  std::unique_ptr<OfficePackage> package(new OfficePackage(std::move(*archive)));
  if (!package->archive_->Has("[Content_Types].xml"))
    return absl::InvalidArgumentError("by its name it is an Office document, by its content another zip file");
  absl::StatusOr<std::string> main = package->Related("", "officeDocument");
  if (!main.ok()) return main.status();
  if (main->empty()) return absl::InvalidArgumentError("it is a damaged Office document: it has no main part");
  package->main_part_ = *std::move(main);
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> types = package->Part("[Content_Types].xml");
  if (!types.ok()) return types.status();
  for (const pugi::xml_node& type : Child(**types, "Types").children()) {
    if (LocalName(type) != "Override" || ResolvePart("", Attribute(type, "PartName")) != package->main_part_) continue;
    const std::string_view kind = Attribute(type, "ContentType");
    if (kind.find(content) != std::string_view::npos) continue;
    const char* name = kind.find("wordprocessingml") != std::string_view::npos ? "a Word document (.docx)"
                       : kind.find("presentationml") != std::string_view::npos ? "a presentation (.pptx)"
                       : kind.find("spreadsheetml") != std::string_view::npos  ? "a workbook (.xlsx)"
                                                                               : nullptr;
    if (name)
      return absl::InvalidArgumentError(absl::StrCat("by its content it is ", name, "; name it for what it is"));
  }
  return package;
}

absl::StatusOr<std::unique_ptr<pugi::xml_document>> OfficePackage::Part(const std::string& name) {
  absl::StatusOr<std::string> bytes = archive_->Read(name);
  if (absl::IsNotFound(bytes.status()))
    return absl::InvalidArgumentError(absl::StrCat("it is a damaged document: ", bytes.status().message()));
  if (!bytes.ok()) return bytes.status();
  return ParseXml(*bytes, name);
}

absl::StatusOr<std::unique_ptr<pugi::xml_document>> OfficePackage::OptionalPart(const std::string& name) {
  if (!archive_->Has(name)) return std::unique_ptr<pugi::xml_document>();
  return Part(name);
}

absl::StatusOr<std::map<std::string, OfficePackage::Relationship>> OfficePackage::Relationships(
    const std::string& part) {
  const size_t slash = part.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : part.substr(0, slash + 1);
  const std::string file = slash == std::string::npos ? part : part.substr(slash + 1);
  std::map<std::string, Relationship> result;
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = OptionalPart(absl::StrCat(folder, "_rels/", file, ".rels"));
  if (!xml.ok()) return xml.status();
  if (!*xml) return result;
  for (const pugi::xml_node& one : Child(**xml, "Relationships").children()) {
    if (LocalName(one) != "Relationship" || Attribute(one, "TargetMode") == "External") continue;
    const std::string_view type = Attribute(one, "Type");
    result[std::string(Attribute(one, "Id"))] = {std::string(type.substr(type.rfind('/') + 1)),
                                                 ResolvePart(part, Attribute(one, "Target"))};
  }
  return result;
}

absl::StatusOr<std::string> OfficePackage::Related(const std::string& part, std::string_view type) {
  absl::StatusOr<std::map<std::string, Relationship>> all = Relationships(part);
  if (!all.ok()) return all.status();
  for (const auto& [id, one] : *all) {
    if (one.type == type) return one.target;
  }
  return std::string();
}

absl::Status OfficePackage::ReadProperties(Document& document) {
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = OptionalPart("docProps/core.xml");
  if (!xml.ok()) return xml.status();
  if (!*xml) return absl::OkStatus();
  const pugi::xml_node properties = Child(**xml, "coreProperties");
  document.title = ToCleanUtf8(StripWhitespace(TextOf(Child(properties, "title"))));
  const std::string author = ToCleanUtf8(StripWhitespace(TextOf(Child(properties, "creator"))));
  if (!author.empty()) document.metadata["author"] = author;
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
