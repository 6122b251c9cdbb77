//! The canary image of the storefront, with another look, searching and sorting.

shop_platform::serve!(shop_ui::router(shop_ui::Edition::V2));
