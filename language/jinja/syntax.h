// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "language/jinja/lexer.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Expression {
  enum class Kind {
    kLiteral,      // literal
    kName,         // name
    kTuple,        // children
    kList,         // children
    kDict,         // children: key, value, key, value, ...
    kUnary,        // name: "+", "-" or "not"; children: operand
    kBinary,       // name: the operator; children: left, right
    kAnd,          // children: left, right
    kOr,           // children: left, right
    kCompare,      // operators between children
    kConcatenate,  // children, two or more
    kConditional,  // children: test, then, else (may be null)
    kAttribute,    // children: object; name
    kItem,         // children: object, key
    kSlice,        // children: object, begin, end, step (each of the three may be null)
    kCall,         // children: callee; arguments
    kFilter,       // children: input (null in a filter block); name; arguments
    kTest,         // children: operand; name; arguments
  };
  Kind kind = Kind::kLiteral;
  Position position;
  int height = 1;  // of the tree below; bounded by the parser, so that recursion over it is
  std::string name;
  Value literal;
  std::vector<std::string> operators;
  std::vector<ExpressionPtr> children;
  CallArguments arguments;
};

struct Statement;
using Block = std::vector<Statement>;

// What is assigned to: a name, an attribute of a namespace, or a tuple of these.
struct Target {
  Position position;
  std::string name;
  std::string attribute;      // empty: the name itself
  std::vector<Target> parts;  // not empty: a tuple
};

struct Statement {
  enum class Kind {
    kText,        // text
    kOutput,      // expression
    kFor,         // target, expression (what is walked through), test (may be null), body, otherwise
    kIf,          // branches, otherwise
    kSet,         // target, expression
    kSetBlock,    // target, expression (filters, may be null), body
    kMacro,       // name, parameters, body
    kFilter,      // expression (filters), body
    kWith,        // assignments, body
    kGeneration,  // body
    kBreak,
    kContinue,
    kHide,  // names: undefined from here on (language/jinja/scoping.h)
  };
  struct Branch {
    ExpressionPtr test;
    Block body;
  };
  struct Parameter {
    std::string name;
    ExpressionPtr value;  // its default; null: none
  };
  Kind kind = Kind::kText;
  Position position;
  Text text;
  std::string name;
  std::vector<std::string> names;
  Target target;
  ExpressionPtr expression, test;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;  // and the assignments of `with`
  Block body, otherwise;
};

}  // namespace blazon::language::jinja
