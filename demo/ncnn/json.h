// A reader for JSON documents, as much as a model.json needs.
#pragma once

#include <string>
#include <vector>

class Json {
 public:
  // Reads a whole document. Throws std::runtime_error that says where it is not JSON.
  static Json parse(const std::string& text);

  // These throw std::runtime_error with the path of the value (as "input.shape") where it is missing
  // or of another type.
  const Json& operator[](const std::string& key) const;  // member of an object
  const std::vector<std::string>& keys() const;          // of an object
  const std::vector<Json>& items() const;                // of an array
  const std::string& string() const;
  double number() const;  // true is 1, false is 0
  int integer() const;

 private:
  enum class Type { null, number, string, array, object };
  friend class JsonParser;

  const Json& expect(Type type, const char* name) const;

  Type type_ = Type::null;
  double number_ = 0;
  std::string string_;
  std::vector<std::string> keys_;
  std::vector<Json> items_;  // of an array, or the values that belong to keys_
  std::string path_;
};
