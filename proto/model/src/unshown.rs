//! Makes the build fail when a type that names a person or an address gets a way to be shown.

/// Fails to compile if the type has one of these traits. For types that must not be printed or serialised: beside the
/// type, with every trait that would let its contents out.
///
/// ```
/// # struct Address(std::net::IpAddr);
/// duocast_model::assert_not_impl!(Address: std::fmt::Debug, std::fmt::Display);
/// ```
///
/// ```compile_fail,E0283
/// # #[derive(Debug)]
/// # struct Address(std::net::IpAddr);
/// duocast_model::assert_not_impl!(Address: std::fmt::Debug, std::fmt::Display);
/// ```
#[macro_export]
macro_rules! assert_not_impl {
    ($type:ty: $($bound:path),+ $(,)?) => {
        const _: fn() = || {
            // One trait that every type has once, and a second time for each bound it meets: then `_` is ambiguous.
            trait Meets<Bound> {
                fn count() {}
            }
            impl<T: ?Sized> Meets<()> for T {}
            $({
                #[allow(dead_code)]
                struct This;
                impl<T: ?Sized + $bound> Meets<This> for T {}
            })+
            <$type as Meets<_>>::count();
        };
    };
}

/// The same for types with a `Debug` that tells nothing, or none: no other way to make them text.
///
/// ```
/// # struct Name(String);
/// duocast_model::assert_unshown!(Name);
/// ```
///
/// ```compile_fail,E0283
/// # struct Name(String);
/// # impl std::fmt::Display for Name {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
/// # }
/// duocast_model::assert_unshown!(Name);
/// ```
#[macro_export]
macro_rules! assert_unshown {
    ($($type:ty),+ $(,)?) => {
        $($crate::assert_not_impl!(
            $type: ::std::fmt::Display, ::std::fmt::LowerHex, ::std::fmt::UpperHex, ::std::string::ToString,
            ::std::convert::AsRef<str>, ::std::convert::AsRef<[u8]>, ::std::borrow::Borrow<str>,
            ::std::convert::Into<::std::string::String>,
        );)+
    };
}
