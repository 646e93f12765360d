// Files to documents.
//
// Text, Markdown (CommonMark with tables, by md4c), HTML (by gumbo), tables (CSV, TSV), JSON and JSON Lines, program
// sources, e-mail (gmime), PDF (poppler's pdftotext), office documents (DOCX, PPTX, XLSX, ODT) and EPUB (libzip,
// pugixml), and pictures (described by a function that is handed in; their lettering by tesseract where it is
// installed).
//
// Encoding of text: a byte-order mark decides (UTF-8, UTF-16); without one, UTF-8 with few errors, then what an HTML
// page declares, what ICU detects, and windows-1252 when it holds no control characters; Document::encoding says which.
// A file whose content is of another kind than its name says is refused, and so is what no limit holds.
// Programs of others run as child processes with limits (child_process.h).
// Thread safety: all functions may run together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retrieval/document.h"

namespace blazon::retrieval {

enum class DocumentFormat {
  kText,
  kMarkdown,
  kHtml,
  kTable,  // CSV, TSV
  kJson,
  kJsonLines,
  kSource,
  kEmail,
  kPdf,
  kDocx,
  kPptx,
  kXlsx,
  kOdt,
  kEpub,
  kImage,
};

struct LoaderLimits {
  size_t max_bytes = 32u << 20;            // of the file
  int max_nesting = 512;                   // open elements, lists and quotes; documents written by people stay under 50
  size_t max_text_bytes = 64u << 20;       // of the text that is read out of it
  int max_pages = 10000;                   // pages, slides, sheets, chapters
  int max_read_pictures = 200;             // pages of a scan that are read as pictures; seconds each
  int max_zip_entries = 20000;             // of office documents and books
  size_t max_expanded_bytes = 256u << 20;  // of the zip entries that are read
  int max_zip_ratio = 200;                 // how many times its size an entry above 10 MiB may unpack to
  int child_seconds = 60;                  // of processor time for one run of another program; twice that on the clock
  size_t child_memory_bytes = size_t{1} << 30;
};

struct LoaderOptions {
  LoaderLimits limits;
  // JSON pointers (RFC 6901) to what is text in JSON and in each line of JSON Lines, "/body" or "/items/*/text", where
  // * is any index or name. Empty: every string and number, each with its path.
  std::string json_text;
  bool read_pictures = true;  // with tesseract, where it is installed
  // Says what a picture shows. Without it pictures are read by tesseract alone.
  std::function<absl::StatusOr<std::string>(std::string_view bytes)> describe_picture;
  std::string describer;  // names that function; another name means that pictures are read again
};

// By the name's ending; see Endings(). kUnimplemented, with the list of endings, for any other.
absl::StatusOr<DocumentFormat> FormatFromPath(const std::filesystem::path& path);
// ".txt .text ...": every ending that can be read.
std::string Endings();

// Reads `bytes`. `path` becomes Document::path and names the document in errors; Document::source is left empty.
// kInvalidArgument: empty, damaged, of another kind than its name says, badly encoded, encrypted, or over a limit; the
// message names path and limit. kFailedPrecondition: the program that reads it is not installed; the message names the
// Debian package.
absl::StatusOr<Document> LoadDocument(DocumentFormat format, std::string_view bytes, std::string_view path,
                                      const LoaderOptions& options = {});

// Reads a whole file, at most limits.max_bytes. kNotFound, kPermissionDenied, kInvalidArgument (not a file, too large).
absl::StatusOr<std::string> ReadDocumentFile(const std::filesystem::path& file, const LoaderLimits& limits = {});

// Name and version of the loader of a format, and of the options that count for it. Changing what a loader reads raises
// its version, and documents are read again.
std::string ParserVersion(DocumentFormat format, const LoaderOptions& options = {});

// SHA-256, lower-case hex.
std::string ContentDigest(std::string_view bytes);

}  // namespace blazon::retrieval
