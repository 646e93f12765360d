// What DOCX, PPTX and XLSX share: parts in a zip file that name one another in relationships (ECMA-376 part 2).
#pragma once

#include <map>
#include <memory>
#include <pugixml.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retrieval/document.h"
#include "retrieval/zip_archive.h"

namespace blazon::retrieval {

class OfficePackage {
 public:
  // `bytes` must outlive it. kInvalidArgument: as ZipArchive, or no main part whose type ends in `content`
  // ("wordprocessingml.document.main+xml" and the like); the message says what it is then.
  static absl::StatusOr<std::unique_ptr<OfficePackage>> Open(std::string_view bytes, std::string_view content,
                                                             const LoaderLimits& limits);

  const std::string& main_part() const { return main_part_; }
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> Part(const std::string& name);
  // Null when there is no such part.
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> OptionalPart(const std::string& name);

  struct Relationship {
    std::string type;    // its last word: "styles", "slide"
    std::string target;  // name of the part
  };
  // By id; external ones are left out.
  absl::StatusOr<std::map<std::string, Relationship>> Relationships(const std::string& part);
  // The target of the first relationship of this type; empty when there is none.
  absl::StatusOr<std::string> Related(const std::string& part, std::string_view type);

  // Title and author, from docProps/core.xml.
  absl::Status ReadProperties(Document& document);

 private:
  OfficePackage(std::unique_ptr<ZipArchive> archive) : archive_(std::move(archive)) {}
  std::unique_ptr<ZipArchive> archive_;
  std::string main_part_;
};

// "slides/../media/a.png" relative to the folder of `part`, as an entry's name: no leading slash, no dots.
std::string ResolvePart(std::string_view part, std::string_view target);

}  // namespace blazon::retrieval
