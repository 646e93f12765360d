#include "retrieval/document_loader.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "retrieval/files.h"
#include "retrieval/format_loaders.h"
#include "retrieval/picture_text.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

// The charset that an HTML page declares in its first kilobyte, lower case; empty when it declares none.
std::string DeclaredCharset(std::string_view bytes) {
  const std::string start = absl::AsciiStrToLower(std::string(bytes.substr(0, 1024)));
  const size_t found = start.find("charset=");
  if (found == std::string::npos) return "";
  size_t begin = found + 8;
  while (begin < start.size() && (start[begin] == '"' || start[begin] == '\'' || start[begin] == ' ')) ++begin;
  size_t end = begin;
  while (end < start.size() &&
         (absl::ascii_isalnum(static_cast<unsigned char>(start[end])) || start[end] == '-' || start[end] == '_'))
    ++end;
  return start.substr(begin, end - begin);
}

// A first line that stands alone, short and without a full stop, is a title.
std::string TextTitle(std::string_view text) {
  constexpr size_t kLongest = 80;
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return "";
  const size_t end = std::min(text.find('\n', begin), text.size());
  const std::string_view line = StripWhitespace(text.substr(begin, end - begin));
  std::string_view next = text.substr(std::min(end + 1, text.size()));
  if (StripWhitespace(next).empty()) return "";
  next = StripWhitespace(next.substr(0, next.find('\n')));
  const bool underlined = next.size() > 2 && next.find_first_not_of("=-~*") == std::string_view::npos;
  if (line.size() > kLongest || (!next.empty() && !underlined) || line.ends_with(".") || line.ends_with(":")) return "";
  return std::string(line);
}

std::string FileTitle(std::string_view path) {
  std::string title = std::filesystem::path(std::string(path)).stem().string();
  std::replace(title.begin(), title.end(), '_', ' ');
  std::replace(title.begin(), title.end(), '-', ' ');
  return title;
}

struct FormatInfo {
  DocumentFormat format;
  const char* endings;
  const char* version;
};
constexpr FormatInfo kFormats[] = {
    {DocumentFormat::kText, ".txt .text .log .rst .org .adoc", "text/2"},
    {DocumentFormat::kMarkdown, ".md .markdown", "markdown/2"},
    {DocumentFormat::kHtml, ".html .htm .xhtml", "html/2"},
    {DocumentFormat::kTable, ".csv .tsv", "table/1"},
    {DocumentFormat::kJson, ".json", "json/1"},
    {DocumentFormat::kJsonLines, ".jsonl .ndjson", "json-lines/1"},
    {DocumentFormat::kSource,
     ".py .c .h .cc .cpp .cxx .hh .hpp .cu .java .js .mjs .jsx .ts .tsx .go .rs .rb .php .pl .pm .sh .bash .swift .kt "
     ".scala .cs .m .lua .r .jl .hs .ml .ex .erl .clj .el .lisp .sql .proto .cmake .mk .toml .yaml .yml .ini .cfg "
     ".conf .css .xml",
     "source/1"},
    {DocumentFormat::kEmail, ".eml", "email/1"},
    {DocumentFormat::kPdf, ".pdf", "pdf/1"},
    {DocumentFormat::kDocx, ".docx", "docx/1"},
    {DocumentFormat::kPptx, ".pptx", "pptx/1"},
    {DocumentFormat::kXlsx, ".xlsx", "xlsx/1"},
    {DocumentFormat::kOdt, ".odt", "odt/1"},
    {DocumentFormat::kEpub, ".epub", "epub/1"},
    {DocumentFormat::kImage, ".png .jpg .jpeg .webp .bmp", "image/1"},
};

const FormatInfo& Info(DocumentFormat format) {
  return *std::find_if(std::begin(kFormats), std::end(kFormats),
                       [format](const FormatInfo& info) { return info.format == format; });
}

bool IsText(DocumentFormat format) { return format <= DocumentFormat::kSource; }

// Whether the first bytes are those of the kind that the name says.
absl::Status CheckKind(DocumentFormat format, std::string_view bytes) {
  const std::string kind(KindOfBytes(bytes));
  std::string wanted;
  bool good = true;
  switch (format) {
    case DocumentFormat::kPdf:  // the header may come within the first kilobyte
      wanted = "a PDF file";
      good = bytes.substr(0, 1024).find("%PDF-") != std::string_view::npos;
      break;
    case DocumentFormat::kDocx:
    case DocumentFormat::kPptx:
    case DocumentFormat::kXlsx:
    case DocumentFormat::kOdt:
    case DocumentFormat::kEpub:
      wanted = "a zip file, as those of this ending are";
      good = kind == "a zip file";
      break;
    case DocumentFormat::kImage:
      wanted = "a picture";
      good = absl::EndsWith(kind, "picture");
      break;
    case DocumentFormat::kEmail:
      wanted = "an e-mail";
      good = kind.empty();
      break;
    default:
      break;
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("by its name it is ", wanted, ", by its content it is ",
                                                 kind.empty() ? "not" : kind,
                                                 kind.empty() ? "" : "; name it for what it is"));
}

}  // namespace

absl::StatusOr<DocumentFormat> FormatFromPath(const std::filesystem::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  for (const FormatInfo& info : kFormats) {
    for (const absl::string_view one : absl::StrSplit(info.endings, ' ')) {
      if (ending == one) return info.format;
    }
  }
  return absl::UnimplementedError(
      absl::StrCat(path.string(), ": files of this kind cannot be read; the kinds are ", Endings()));
}

std::string Endings() {
  std::vector<std::string> all;
  for (const FormatInfo& info : kFormats) all.emplace_back(info.endings);
  return absl::StrJoin(all, ", ");
}

std::string ParserVersion(DocumentFormat format, const LoaderOptions& options) {
  std::string version(Info(format).version);
  const bool reads_json = format == DocumentFormat::kJson || format == DocumentFormat::kJsonLines;
  if (reads_json && !options.json_text.empty()) absl::StrAppend(&version, " ", options.json_text);
  const bool reads_pictures = format == DocumentFormat::kPdf || format == DocumentFormat::kImage;
  if (reads_pictures && options.read_pictures && CanReadPictures()) absl::StrAppend(&version, " tesseract");
  if (format == DocumentFormat::kImage && options.describe_picture) absl::StrAppend(&version, " ", options.describer);
  return version;
}

std::string ContentDigest(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

absl::StatusOr<Document> LoadDocument(DocumentFormat format, std::string_view bytes, std::string_view path,
                                      const LoaderOptions& options) {
  const LoaderLimits& limits = options.limits;
  const auto because = [path](const absl::Status& status) {
    // The child's limits and crashes are the file's fault; what is missing on this machine is not.
    const absl::StatusCode code = absl::IsFailedPrecondition(status) || absl::IsInternal(status) ||
                                          absl::IsUnavailable(status) || absl::IsCancelled(status) ||
                                          absl::IsNotFound(status)
                                      ? status.code()
                                      : absl::StatusCode::kInvalidArgument;
    return absl::Status(code, absl::StrCat(std::string(path), " cannot be read: ", status.message()));
  };
  const auto refuse = [&](absl::string_view why) { return because(absl::InvalidArgumentError(why)); };
  if (bytes.size() > limits.max_bytes)
    return refuse(absl::StrCat("it has ", bytes.size(), " bytes; at most ", limits.max_bytes, " are allowed"));
  if (bytes.empty()) return refuse("it is empty; it holds no text");
  Document document;
  document.path = std::string(path);
  document.parser = ParserVersion(format, options);
  document.content_digest = ContentDigest(bytes);
  std::string source;
  if (IsText(format)) {
    absl::StatusOr<DecodedText> decoded =
        DecodeText(bytes, format == DocumentFormat::kHtml ? DeclaredCharset(bytes) : "");
    if (!decoded.ok()) return because(decoded.status());
    source = std::move(decoded->text);
    document.encoding = decoded->encoding;
    if (decoded->replaced > 0) {
      document.warnings.push_back(
          absl::StrCat(decoded->replaced, " of its bytes are not UTF-8; they were read as U+FFFD"));
    }
  } else if (absl::Status status = CheckKind(format, bytes); !status.ok()) {
    return because(status);
  }
  absl::Status status;
  switch (format) {
    case DocumentFormat::kText:
      document.text = source;
      document.source_map.push_back({0, 0, source.size()});
      document.title = TextTitle(source);
      break;
    case DocumentFormat::kMarkdown:
      status = LoadMarkdown(source, limits, document);
      break;
    case DocumentFormat::kHtml:
      status = LoadHtml(source, limits, document);
      break;
    case DocumentFormat::kTable:
      status = LoadTable(source, limits, document);
      break;
    case DocumentFormat::kJson:
    case DocumentFormat::kJsonLines:
      status = LoadJson(source, format == DocumentFormat::kJsonLines, options, document);
      break;
    case DocumentFormat::kSource:
      status = LoadSource(source, path, document);
      break;
    case DocumentFormat::kEmail:
      status = LoadEmail(bytes, options, document);
      break;
    case DocumentFormat::kPdf:
      status = LoadPdf(bytes, options, document);
      break;
    case DocumentFormat::kDocx:
      status = LoadDocx(bytes, limits, document);
      break;
    case DocumentFormat::kPptx:
      status = LoadPptx(bytes, limits, document);
      break;
    case DocumentFormat::kXlsx:
      status = LoadXlsx(bytes, limits, document);
      break;
    case DocumentFormat::kOdt:
      status = LoadOdt(bytes, limits, document);
      break;
    case DocumentFormat::kEpub:
      status = LoadEpub(bytes, limits, document);
      break;
    case DocumentFormat::kImage:
      status = LoadImage(bytes, options, document);
      break;
  }
  if (!status.ok()) return because(status);
  if (document.text.size() > limits.max_text_bytes) {
    return refuse(absl::StrCat("it holds ", document.text.size(), " bytes of text; at most ", limits.max_text_bytes,
                               " are allowed"));
  }
  if (StripWhitespace(document.text).empty()) return refuse("it holds no text");
  if (!IsText(format)) {  // the text stands for the source
    document.source_map = {{0, 0, document.text.size()}};
    source = document.text;
  }
  document.line_starts.push_back(0);
  for (size_t at = source.find('\n'); at != std::string::npos; at = source.find('\n', at + 1))
    document.line_starts.push_back(at + 1);
  if (document.title.empty()) document.title = FileTitle(path);
  return document;
}

absl::StatusOr<std::string> ReadDocumentFile(const std::filesystem::path& file, const LoaderLimits& limits) {
  // O_NONBLOCK: a pipe without a writer must not hold us.
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return FileError("open", file, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  struct stat information {};
  if (fstat(descriptor, &information) != 0) return FileError("examine", file, errno);
  if (!S_ISREG(information.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(file.string(), " is not a regular file"));
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(descriptor, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", file, errno);
    if (count == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(count));
    if (bytes.size() > limits.max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.string(), " is larger than the ", limits.max_bytes, " bytes that a document may have"));
    }
  }
}

}  // namespace blazon::retrieval
