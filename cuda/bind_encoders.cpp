// Descriptions from Python that are more than their fields: shapes from which sizes follow, encoders of any kind, and the
// field that the fused renderer puts together of them.
#include "bind.h"

namespace fieldlab {
namespace {

nb::object item(nb::handle given, const char* name) {
  PyObject* value = PyDict_Check(given.ptr()) ? PyDict_GetItemString(given.ptr(), name) : nullptr;
  if (value == nullptr) throw nb::type_error((std::string("a part needs ") + name).c_str());
  return nb::borrow(value);
}
template <class T>
T get(nb::handle given, const char* name) {
  T value{};
  assign(value, item(given, name));
  return value;
}
template <class T>
std::vector<T> list(nb::handle given, const char* name) {
  return nb::cast<std::vector<T>>(item(given, name));
}

// A perceptron and its parameters; false: None, there is none.
bool assign_perceptron(MlpShape& shape, const float*& params, nb::handle given, const char* name) {
  const nb::object described = item(given, name);
  params = get<const float*>(given, "params");
  if (described.is_none()) return false;
  fill(shape, described, "a perceptron");
  return true;
}

void add_branch(FieldProgram& f, nb::handle given) {
  const auto encoders = list<const Encoder*>(given, "encoders");
  if (f.branches == kMaxBranches || f.encoders + encoders.size() > kMaxEncoders)
    throw nb::value_error("a field has too many parts");
  Branch& b = f.branch[f.branches++];
  b = {f.encoders, static_cast<int>(encoders.size()), false, {}, nullptr};
  b.perceptron = assign_perceptron(b.shape, b.params, given, "shape");
  for (const Encoder* e : encoders) f.encoder[f.encoders++] = *e;
}

}  // namespace

void assign(HashGrid& to, nb::handle given) {
  const auto scales = list<float>(given, "scales");
  const auto resolutions = list<std::uint32_t>(given, "resolutions"), offsets = list<std::uint32_t>(given, "offsets");
  const auto hashed = list<bool>(given, "hashed");
  const std::size_t n = scales.size();
  if (n > kMaxHashLevels || n != resolutions.size() || n != hashed.size() || n + 1 != offsets.size())
    throw nb::value_error("a hash grid has a limited number of levels, described by arrays of equal length");
  to = {static_cast<int>(n), get<int>(given, "features"), get<bool>(given, "smooth"), {}, get<int>(given, "dims")};
  for (std::size_t l = 0; l < n; ++l)
    to.level[l] = {scales[l], resolutions[l], offsets[l], offsets[l + 1] - offsets[l], hashed[l]};
}

void assign(LowRank& to, nb::handle given) {
  const auto r = list<int>(given, "resolution");
  if (r.size() != 3) throw nb::value_error("a low-rank tensor has three axes");
  to = low_rank_of(get<bool>(given, "vm"), r[0], r[1], r[2], get<int>(given, "rank"), get<int>(given, "outputs"));
}

void assign(RbfTree& to, nb::handle given) {
  to = rbf_tree_of(get<int>(given, "dims"), get<std::int64_t>(given, "kernels"), get<const float*>(given, "nodes"),
                   get<const std::int32_t*>(given, "order"));
}

void assign(FieldProgram& to, nb::handle given) {
  for (nb::handle branch : nb::cast<nb::list>(item(given, "branches"))) add_branch(to, branch);
  to.latent = get<int>(given, "latent");
  const nb::object color = item(given, "color");
  to.color_perceptron = assign_perceptron(to.color, to.color_params, color, "shape");
  to.sh_degree = get<int>(color, "sh_degree");
  to.n_constants = get<int>(color, "n_constants");
  to.constants = get<const float*>(color, "constants");
  to.offset = get<float>(given, "offset");
  to.ceiling = get<float>(given, "ceiling");
}

void bind_encoders(nb::module_& m) {
  nb::class_<Encoder>(m, "Encoder");
#define FL_BIND(name, Type)                             \
  m.def(#name "_encoder", [](const nb::kwargs& given) { \
    Type encoder{};                                     \
    fill(encoder, given, #name "_encoder");             \
    return Encoder::of(encoder);                        \
  });
  FL_ENCODERS(FL_BIND)
#undef FL_BIND
}

}  // namespace fieldlab
