//! Test helper: a `repr(C)` struct lies in memory as its WGSL namesake.

/// Names and offsets of a WGSL struct's members, and its size.
pub(crate) fn wgsl_layout(
    shader: &pept_shaders::Shader,
    name: &str,
) -> (Vec<(String, usize)>, usize) {
    let module = naga::front::wgsl::parse_str(shader.wgsl).expect("the shader should parse");
    let (_, found) = module
        .types
        .iter()
        .find(|(_, ty)| ty.name.as_deref() == Some(name))
        .unwrap_or_else(|| panic!("{} has no struct {name}", shader.name));
    let naga::TypeInner::Struct { members, span } = &found.inner else {
        panic!("{name} is no struct")
    };
    let member = |m: &naga::StructMember| (m.name.clone().unwrap_or_default(), m.offset as usize);
    (members.iter().map(member).collect(), *span as usize)
}

macro_rules! assert_layout {
    ($name:ident in $shader:path => $($field:ident),+ $(,)?) => {
        assert_layout!($name in $shader as $name => $($field),+)
    };
    ($name:ident in $shader:path as $wgsl:ident => $($field:ident),+ $(,)?) => {{
        let rust = vec![$((stringify!($field).to_owned(), std::mem::offset_of!($name, $field))),+];
        let wgsl = crate::gpu::layout::wgsl_layout(&$shader, stringify!($wgsl));
        assert_eq!((rust, std::mem::size_of::<$name>()), wgsl);
    }};
}
pub(crate) use assert_layout;
